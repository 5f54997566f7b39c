//! Three nodes that are one broker.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use crate::{
    harness::say,
    network::{Hosts, NODES},
    node::{self, Node},
    platform::CLIENT,
    support::{Outcome, SELDOM, every, until},
};

/// How long a node may take to start before it is started once more: a quarter of a minute is usual.
const BOOT: Duration = Duration::from_mins(2);

/// The cluster.
pub(crate) struct Cluster {
    nodes: Vec<Node>,
}

impl Cluster {
    /// Starts one node after the other, and waits until each of them sees the others. All at once
    /// would be quicker, but then the trackers of client identifiers, which join one at a time, can
    /// wait for each other for good.
    pub(crate) async fn start(hosts: &Hosts, directory: &Path) -> Outcome<Self> {
        let nodes = NODES.iter().map(|node| Node::new(hosts, *node, directory));
        let mut cluster = Self { nodes: nodes.collect::<Outcome<_>>()? };
        match cluster.start_all().await {
            Ok(()) => Ok(cluster),
            Err(why) => Err(format!("{why}\n{}", cluster.last_words())),
        }
    }

    async fn start_all(&mut self) -> Outcome<()> {
        for node in &mut self.nodes {
            node.start()?;
            if timeout(BOOT, Self::takes_clients(node)).await.is_ok_and(|it| it.is_ok()) {
                continue;
            }
            say(&format!("  node {} did not start; once more", node.number));
            node.kill().await?;
            node.start()?;
            Self::takes_clients(node).await?;
        }
        for node in &self.nodes {
            Self::whole(node).await?;
        }
        Ok(())
    }

    async fn takes_clients(node: &Node) -> Outcome<()> {
        until(&format!("node {} takes clients", node.number), || node.is_listening()).await
    }

    pub(crate) fn node(&mut self, number: u8) -> &mut Node {
        let place = self.nodes.iter().position(|node| node.number == number);
        &mut self.nodes[place.expect("there is such a node")]
    }

    /// Waits until a node takes clients and sees all others.
    pub(crate) async fn whole(node: &Node) -> Outcome<()> {
        Self::takes_clients(node).await?;
        let sees_all = async || node.running_nodes().await == NODES;
        every(SELDOM, &format!("node {} sees all others", node.number), sees_all).await
    }

    /// Waits until every queue would go on without this node.
    pub(crate) async fn spares(node: &Node) -> Outcome<()> {
        let what = format!("node {} can be spared", node.number);
        every(SELDOM, &what, || node.can_be_spared()).await
    }

    /// The one queue of the platform's session: that it is what the test is about.
    pub(crate) async fn queue_is_on_all_nodes(&self) -> Outcome<()> {
        if node::queues() != "quorum" {
            return Ok(());
        }
        let wanted = format!("mqtt-subscription-{CLIENT}qos1");
        let asked = ["list_queues", "name", "type", "members"];
        let queues = self.nodes[0].ask("rabbitmqctl", &asked).await?;
        let queues = queues.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_it = |queue: &&Value| queue["name"] == wanted.as_str();
        let members = |queue: &Value| queue["members"].as_array().map_or(0, Vec::len);
        match queues.iter().find(is_it) {
            Some(queue) if queue["type"] == "quorum" && members(queue) == NODES.len() => Ok(()),
            found => Err(format!("`{wanted}` is no quorum queue on all nodes: {found:?}")),
        }
    }

    /// The end of what all nodes said.
    pub(crate) fn last_words(&self) -> String {
        let words: Vec<String> = self.nodes.iter().map(Node::last_words).collect();
        words.join("\n")
    }
}

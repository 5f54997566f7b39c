//! The hosts and the wires between them: network namespaces, veth pairs and two bridges. Nothing of
//! it touches the machine's own network.
//!
//! | host | what runs there | front | back |
//! |---|---|---|---|
//! | `hub` | the load balancer, the platform, and both switches | 10.77.1.254 | - |
//! | `shop` | the gateways | 10.77.1.100 | - |
//! | `n1`, `n2`, `n3` | a broker's node each | 10.77.1.1 to .3 | 10.77.2.1 to .3 |
//!
//! Clients come over the front net; the nodes talk to each other over the back net.

use std::{
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
};

use crate::support::{Outcome, text};

/// The nodes of the cluster.
pub(crate) const NODES: [u8; 3] = [1, 2, 3];

/// The last octets of the addresses of the other hosts.
const HUB: u8 = 254;
const SHOP: u8 = 100;

/// What all of our namespaces are called, with the number of the process that made them.
const PREFIX: &str = "bgcluster";

/// One of the two switches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Net {
    /// Between the clients and the nodes.
    Front,
    /// Between the nodes.
    Back,
}

/// The names of the hosts.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    prefix: String,
}

/// The hosts, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hosts: Hosts,
}

// === impl Net ===

impl Net {
    fn name(self) -> &'static str {
        match self {
            Self::Front => "front",
            Self::Back => "back",
        }
    }

    /// The address of a host with this last octet.
    fn address(self, host: u8) -> Ipv4Addr {
        let net = if self == Self::Front { 1 } else { 2 };
        Ipv4Addr::new(10, 77, net, host)
    }
}

/// Where clients reach a node.
pub(crate) fn front(node: u8) -> Ipv4Addr {
    Net::Front.address(node)
}

/// Where the other nodes reach a node.
pub(crate) fn back(node: u8) -> Ipv4Addr {
    Net::Back.address(node)
}

/// Where clients reach the load balancer.
pub(crate) fn balancer() -> Ipv4Addr {
    Net::Front.address(HUB)
}

/// Where the gateways come from.
pub(crate) fn shop() -> Ipv4Addr {
    Net::Front.address(SHOP)
}

// === impl Hosts ===

impl Hosts {
    /// By the names that [`Self::to_string`] wrote down for another process.
    pub(crate) fn named(prefix: String) -> Self {
        Self { prefix }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    pub(crate) fn shop(&self) -> String {
        format!("{}-shop", self.prefix)
    }

    pub(crate) fn node(&self, node: u8) -> String {
        format!("{}-n{node}", self.prefix)
    }

    /// Pulls a node's cable out of a switch: what is sent either way is lost, and nobody is told.
    pub(crate) fn cut(&self, node: u8, net: Net) -> Outcome<()> {
        let port = format!("{}{node}", net.name());
        ip(&["-n", &self.hub(), "link", "set", &port, "nomaster"])
    }

    /// Puts it back.
    pub(crate) fn mend(&self, node: u8, net: Net) -> Outcome<()> {
        let port = format!("{}{node}", net.name());
        ip(&["-n", &self.hub(), "link", "set", &port, "master", net.name()])
    }

    fn all(&self) -> Vec<String> {
        let nodes = NODES.iter().map(|node| self.node(*node));
        nodes.chain([self.shop(), self.hub()]).collect()
    }
}

/// The beginning of a command that runs on a host and ends when the thread that started it does,
/// however that ends.
pub(crate) fn on(host: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "ip", "netns", "exec", host]);
    command
}

// === impl Network ===

impl Network {
    /// Makes the hosts and connects them.
    pub(crate) fn build() -> Outcome<Self> {
        remove_what_others_left()?;
        let hosts = Hosts { prefix: format!("{PREFIX}{}", std::process::id()) };
        // From here on whatever was made is removed again when something fails.
        let network = Self { hosts };
        for host in network.hosts.all() {
            ip(&["netns", "add", &host])?;
            ip(&["-n", &host, "link", "set", "lo", "up"])?;
        }
        let hub = network.hosts.hub();
        for net in [Net::Front, Net::Back] {
            ip(&["-n", &hub, "link", "add", net.name(), "type", "bridge"])?;
            ip(&["-n", &hub, "link", "set", net.name(), "up"])?;
        }
        let address = format!("{}/24", balancer());
        ip(&["-n", &hub, "addr", "add", &address, "dev", "front"])?;
        network.connect(&network.hosts.shop(), SHOP, Net::Front)?;
        for node in NODES {
            for net in [Net::Front, Net::Back] {
                network.connect(&network.hosts.node(node), node, net)?;
            }
        }
        Ok(network)
    }

    fn connect(&self, host: &str, octet: u8, net: Net) -> Outcome<()> {
        let hub = self.hosts.hub();
        let (port, name) = (format!("{}{octet}", net.name()), net.name());
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", name, "netns", host];
        ip(&[&["-n", &hub], &pair[..]].concat())?;
        ip(&["-n", &hub, "link", "set", &port, "master", name, "up"])?;
        let address = format!("{}/24", net.address(octet));
        ip(&["-n", host, "addr", "add", &address, "dev", name])?;
        ip(&["-n", host, "link", "set", name, "up"])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Its interfaces go with a namespace. What was not made cannot be removed.
        for host in self.hosts.all() {
            drop(ip(&["netns", "delete", &host]));
        }
    }
}

/// Removes the hosts of a run that was killed: its processes have ended with it, its namespaces have
/// not.
fn remove_what_others_left() -> Outcome<()> {
    let listed = Command::new("ip").args(["netns", "list"]).output().map_err(text)?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for host in listed.lines().filter_map(|line| line.split(' ').next()) {
        let owner = host.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.filter(|owner| owner.parse::<u32>().is_ok()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            ip(&["netns", "delete", host])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Outcome<()> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("`ip` of the package iproute2: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`ip {}` (as root?): {}", arguments.join(" "), said.trim()))
}

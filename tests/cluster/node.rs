//! One node of the broker: `RabbitMQ` with its MQTT plugin, in a namespace of its own for the network
//! and for processes, so that whatever it starts ends with it.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

use crate::{
    network::{self, Hosts, NODES},
    support::{Outcome, PATIENCE, text},
};

/// Where Debian keeps the programs themselves. Those on the path change to another user first.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";

/// The port of MQTT.
pub(crate) const PORT: u16 = 1883;

/// How many messages a subscriber may leave unacknowledged.
pub(crate) const PREFETCH: u64 = 200;

/// Who may connect, with this password, too.
pub(crate) const USER: &str = "gateway";

/// How long one of the broker's own tools may take: two seconds are usual.
const TOOL: Duration = Duration::from_secs(40);

/// A node, running or not.
pub(crate) struct Node {
    pub(crate) number: u8,
    hosts: Hosts,
    directory: PathBuf,
    running: Option<Child>,
}

impl Node {
    /// Writes a node's configuration down; nothing runs yet.
    pub(crate) fn new(hosts: &Hosts, number: u8, directory: &Path) -> Outcome<Self> {
        let server = Path::new(PROGRAMS).join("rabbitmq-server");
        if !server.exists() {
            let server = server.display();
            return Err(format!("{server} is missing; install the package `rabbitmq-server`"));
        }
        let directory = directory.join(format!("n{number}"));
        fs::create_dir_all(&directory).map_err(text)?;
        let cookie = directory.join(".erlang.cookie");
        fs::write(&cookie, "one-cluster").map_err(text)?;
        // Erlang refuses a cookie that others may read.
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).map_err(text)?;
        fs::write(directory.join("enabled_plugins"), "[rabbitmq_mqtt].\n").map_err(text)?;
        fs::write(directory.join("rabbitmq.conf"), configuration()).map_err(text)?;
        Ok(Self { number, hosts: hosts.clone(), directory, running: None })
    }

    /// Starts it. It is up when it [listens](Self::is_listening) and [runs](Self::running_nodes).
    pub(crate) fn start(&mut self) -> Outcome<()> {
        let said = File::create(self.directory.join("said")).map_err(text)?;
        let mut command = network::on(&self.hosts.node(self.number));
        // The first process of the namespace: with it everything in there ends, the port mapper,
        // which would outlive the node, too.
        command
            .args(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"])
            .arg(format!("epmd -daemon; {PROGRAMS}/rabbitmq-server"))
            .envs(self.environment())
            // Else a script stays between us and the node.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .stdin(Stdio::null())
            .stdout(said.try_clone().map_err(text)?)
            .stderr(said);
        let mut command = Command::from(command);
        self.running = Some(command.kill_on_drop(true).spawn().map_err(text)?);
        Ok(())
    }

    /// Ends it at once, as when the machine dies.
    pub(crate) async fn kill(&mut self) -> Outcome<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        child.kill().await.map_err(text)
    }

    /// Stops it in good order, as an operator does.
    pub(crate) async fn stop(&mut self) -> Outcome<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        let stopping = async {
            // The tool fails when the node has ended meanwhile, or when it took too long itself.
            while self.control("rabbitmqctl", &["stop"]).await.is_err() {
                if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    break;
                }
            }
            child.wait().await
        };
        match timeout(PATIENCE, stopping).await {
            Ok(ended) => ended.map(drop).map_err(text),
            Err(_) => Err(format!("node {} does not stop", self.number)),
        }
    }

    /// Whether it takes connections of clients.
    pub(crate) async fn is_listening(&self) -> bool {
        let connect = TcpStream::connect(self.address());
        matches!(timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        (network::front(self.number), PORT).into()
    }

    /// The nodes that run, as this one sees it; none when it does not answer.
    pub(crate) async fn running_nodes(&self) -> Vec<u8> {
        let Ok(status) = self.ask("rabbitmqctl", &["cluster_status"]).await else { return vec![] };
        let running = status["running_nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_running = |node: &u8| running.iter().any(|name| *name == name_of(*node));
        NODES.into_iter().filter(is_running).collect()
    }

    /// Whether every queue would go on without this node: what the manual wants to be asked before
    /// a node is stopped.
    pub(crate) async fn can_be_spared(&self) -> bool {
        let asked = ["check_if_node_is_quorum_critical"];
        self.control("rabbitmq-queues", &asked).await.is_ok()
    }

    /// Whether there is somebody who keeps the identifiers of all clients, which takes a majority.
    pub(crate) async fn has_tracker(&self) -> bool {
        let ask = "case ra:members(mqtt_node:server_id(), 2000) of {ok, _, _} -> yes; _ -> no end.";
        self.control("rabbitmqctl", &["eval", ask]).await.is_ok_and(|said| said.trim() == "yes")
    }

    /// Lets the nodes agree on somebody who does.
    pub(crate) async fn elect_tracker(&self) -> Outcome<()> {
        let elect = ["eval", "mqtt_node:trigger_election()."];
        self.control("rabbitmqctl", &elect).await.map(drop)
    }

    /// Runs one of the broker's own tools and reads what it answers.
    pub(crate) async fn ask(&self, tool: &str, arguments: &[&str]) -> Outcome<Value> {
        let said = self.control(tool, &[&["--formatter", "json"], arguments].concat()).await?;
        serde_json::from_str(&said).map_err(|error| format!("{tool} said {said:?}: {error}"))
    }

    /// Its tools have been seen to hang while starting, on a machine that was very busy: so one that
    /// takes too long has failed, and who asks, asks again.
    async fn control(&self, tool: &str, arguments: &[&str]) -> Outcome<String> {
        let mut command = network::on(&self.hosts.node(self.number));
        command
            .arg(Path::new(PROGRAMS).join(tool))
            .args(["--quiet", "--longnames", "--node", &name_of(self.number)])
            .args(arguments)
            .envs(self.environment())
            .stdin(Stdio::null());
        let mut command = Command::from(command);
        let output = match timeout(TOOL, command.kill_on_drop(true).output()).await {
            Ok(output) => output.map_err(text)?,
            Err(_) => return Err(format!("`{tool} {}` does not end", arguments.join(" "))),
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("`{tool} {}` at node {}: {}", arguments.join(" "), self.number, said.trim()))
    }

    /// The end of what it said and logged.
    pub(crate) fn last_words(&self) -> String {
        let log = format!("log/{}.log", name_of(self.number));
        let ends = ["said", &log].map(|file| end_of(&self.directory.join(file)));
        format!("node {}:\n{}\n{}", self.number, ends[0], ends[1])
    }

    /// What its scripts read. All of it lies in its own directory.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.directory.join(name).display().to_string();
        vec![
            ("HOME", self.directory.display().to_string()),
            ("RABBITMQ_NODENAME", name_of(self.number)),
            ("RABBITMQ_USE_LONGNAME", "true".to_owned()),
            // The machine's own settings are none of ours.
            ("RABBITMQ_CONF_ENV_FILE", file("none.conf")),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", file("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", file("mnesia")),
            ("RABBITMQ_QUORUM_DIR", file("quorum")),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", file("generated")),
            ("RABBITMQ_SCHEMA_DIR", file("schema")),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("ERL_CRASH_DUMP", "/dev/null".to_owned()),
        ]
    }
}

/// The name of a node in the cluster.
fn name_of(node: u8) -> String {
    format!("rabbit@{}", network::back(node))
}

/// `quorum`, or what `CLUSTER_QUEUES` says: with `classic` the cluster loses what it acknowledges.
pub(crate) fn queues() -> String {
    env::var("CLUSTER_QUEUES").unwrap_or_else(|_| "quorum".to_owned())
}

/// What an operator writes for a cluster that is to lose nothing, and small figures where the
/// defaults are for large machines.
fn configuration() -> String {
    let member =
        |node| format!("cluster_formation.classic_config.nodes.{node} = {}", name_of(node));
    let members = NODES.map(member).join("\n");
    let queues = queues();
    format!(
        "\
listeners.tcp = none
mqtt.listeners.tcp.default = {PORT}
mqtt.allow_anonymous = false
# Who subscribes with QoS 1 and a session that lasts has a queue on several nodes.
mqtt.durable_queue_type = {queues}
# How long such a session is kept, in ms.
mqtt.subscription_ttl = 3600000
# How many messages a subscriber may leave unacknowledged; the default is 10.
mqtt.prefetch = {PREFETCH}
default_user = {USER}
default_pass = {USER}
loopback_users = none
# Who sees the smaller part of the cluster stops, so that clients leave it.
cluster_partition_handling = pause_minority
# After about so many seconds of silence a node counts as gone. The default is 60; with fewer than 8 a
# busy machine would part nodes that are well.
net_ticktime = 8
cluster_formation.peer_discovery_backend = classic_config
{members}
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 512MB
log.file.level = info
"
    )
}

/// The last kilobyte and a half of a file.
fn end_of(file: &Path) -> String {
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(1500)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok::<_, std::io::Error>(end)
    };
    match read() {
        Ok(end) => String::from_utf8_lossy(&end).into_owned(),
        Err(error) => format!("({}: {error})", file.display()),
    }
}

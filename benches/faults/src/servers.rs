//! Three Kafka brokers and a PostgreSQL, on loopback, each of which can be killed and started again.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use yibiao_topics::{Client, ClientConfig};

use crate::{
    ending::{command, is_ending},
    ports::Ports,
};

pub const BROKERS: usize = 3;
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// What a seed needs, and then the next one; they end with this.
pub struct Servers {
    pub kafka: Kafka,
    pub postgres: Postgres,
    _ports: Ports,
}

impl Servers {
    /// Both at once.
    pub fn start(project: &Path, dir: &Path) -> Result<Self> {
        let ports = Ports::take()?;
        let (kafka, postgres) = std::thread::scope(|scope| {
            let postgres = scope.spawn(|| Postgres::start(&dir.join("postgres"), ports.postgres()));
            let kafka = Kafka::start(project, &dir.join("kafka"), ports.brokers());
            (kafka, postgres.join().map_err(|_| anyhow!("starting PostgreSQL panicked")))
        });
        Ok(Self { kafka: kafka?, postgres: postgres??, _ports: ports })
    }

    /// As if no seed had been here: without its topics, and with them without what groups have read. Its table goes when the next
    /// seed makes its own.
    pub async fn clear(&self) -> Result<()> {
        self.kafka.start_again()?;
        let client = Client::new(&ClientConfig::at(&*self.kafka.bootstrap))?;
        let is_of_a_seed = |topic: &String| !topic.starts_with("__");
        let topics: Vec<String> = client.topics().await?.into_keys().filter(is_of_a_seed).collect();
        Ok(client.delete(&topics).await?)
    }
}

/// Brokers started by deploy/kafka/kafka.sh; they end with this.
pub struct Kafka {
    project: PathBuf,
    dir: PathBuf,
    pub bootstrap: String,
}

impl Kafka {
    /// Two ports for each, from `port` on.
    pub fn start(project: &Path, dir: &Path, port: u16) -> Result<Self> {
        let mut kafka = Self { project: project.to_owned(), dir: dir.to_owned(), bootstrap: String::new() };
        let (brokers, port) = (BROKERS.to_string(), port.to_string());
        kafka.bootstrap =
            kafka.script(&["start", "--brokers", &brokers, "--port", &port, "--heap", "256m", "--light"])?;
        Ok(kafka)
    }

    fn script(&self, args: &[&str]) -> Result<String> {
        let output = command(self.project.join("deploy/kafka/kafka.sh"))?
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .stderr(Stdio::inherit())
            .output()
            .context("running kafka.sh")?;
        ensure!(output.status.success(), "kafka.sh {args:?} failed");
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().last().unwrap_or_default().trim().to_owned())
    }

    /// Ends one broker, as a power cut would or as an operator does.
    pub fn end(&self, broker: usize, hard: bool) -> Result<()> {
        let pid = fs::read_to_string(self.dir.join(format!("broker-{}/pid", broker + 1)))?;
        let pid = pid.trim();
        signal(pid, if hard { "KILL" } else { "TERM" })?;
        // A broker that is asked to stop hands its partitions over first.
        let until = Instant::now() + STOPS_WITHIN;
        while is_running(pid) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50));
        }
        if is_running(pid) { signal(pid, "KILL") } else { Ok(()) }
    }

    /// Starts those that are down.
    pub fn start_again(&self) -> Result<()> {
        self.script(&["start"]).map(drop)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if let Err(error) = self.script(&["stop", "--force"])
            && !is_ending()
        {
            eprintln!("{error:#}");
        }
    }
}

/// A process that ended and whose parent has not asked for its status is no process any more.
fn is_running(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

pub fn signal(pid: &str, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), pid]).status()?;
    ensure!(status.success(), "kill -{name} {pid} failed");
    Ok(())
}

/// A cluster of its own in a folder; it ends with this.
pub struct Postgres {
    dir: PathBuf,
    binaries: PathBuf,
    port: u16,
}

impl Postgres {
    pub fn start(dir: &Path, port: u16) -> Result<Self> {
        let binaries =
            binaries().context("PostgreSQL is not installed: set YIBIAO_PG_BIN to the folder of initdb")?;
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
        let postgres = Self { dir: dir.to_owned(), binaries, port };
        let data = postgres.data();
        postgres.tool(
            "initdb",
            &["-D", &data, "-U", "reader", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"],
        )?;
        postgres.start_again()?;
        Ok(postgres)
    }

    pub fn start_again(&self) -> Result<()> {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -p {} -k {} -c fsync=off -c max_connections=20 -c shared_buffers=16MB",
            self.port,
            self.dir.display()
        );
        let log = self.dir.join("log").display().to_string();
        self.tool("pg_ctl", &["start", "-w", "-t", "30", "-D", &self.data(), "-l", &log, "-o", &options])
    }

    pub fn stop(&self) -> Result<()> {
        self.tool("pg_ctl", &["stop", "-m", "immediate", "-w", "-D", &self.data()])
    }

    pub fn url(&self) -> String {
        format!("postgresql://reader@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> String {
        self.dir.join("data").display().to_string()
    }

    /// PostgreSQL refuses to run as root, so root runs it as somebody else.
    fn tool(&self, name: &str, args: &[&str]) -> Result<()> {
        let tool = self.binaries.join(name);
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = if users.contains("\npostgres:") { "postgres" } else { "nobody" };
        let mut run = command(if is_root { Path::new("runuser") } else { &tool })?;
        if is_root {
            run.args(["-u", user, "--"]).arg(&tool);
        }
        // Not into pipes: the server would inherit them and keep them open.
        let errors = self.dir.join("errors");
        let status = run
            .args(args)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?)
            .status()?;
        if !status.success() {
            bail!("{name}: {}", fs::read_to_string(&errors).unwrap_or_default());
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Err(error) = self.stop()
            && !is_ending()
        {
            eprintln!("{error:#}");
        }
    }
}

fn binaries() -> Option<PathBuf> {
    let has = |folder: &Path| folder.join("initdb").exists() && folder.join("pg_ctl").exists();
    if let Ok(folder) = std::env::var("YIBIAO_PG_BIN") {
        return Some(PathBuf::from(folder)).filter(|folder| has(folder));
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut installed: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    installed.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed.into_iter().rev().chain(std::env::split_paths(&path)).find(|folder| has(folder))
}

//! A PostgreSQL server of a test's own: a fresh cluster in a temporary folder, on a free port of loopback.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

pub struct Server {
    folder: TempDir,
    binaries: PathBuf,
    port: u16,
}

pub const PASSWORD: &str = "geheim";

impl Server {
    /// None, said aloud, where PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        let Some(binaries) = binaries() else {
            eprintln!(
                "SKIPPED: PostgreSQL is not installed; set YIBIAO_PG_BIN to the folder of initdb and pg_ctl"
            );
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { folder, binaries, port };
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let password_file = server.folder.path().join("password");
        fs::write(&password_file, PASSWORD).unwrap();
        let data = server.data();
        let paths = ["-D", data.to_str().unwrap(), "--pwfile", password_file.to_str().unwrap()];
        server.tool(
            "initdb",
            &[&paths[..], &["-U", "reader", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]]
                .concat(),
        );
        server.start_again();
        Some(server)
    }

    pub fn start_again(&self) {
        let sockets = self.folder.path().to_str().unwrap();
        let options = format!(
            "-c listen_addresses=127.0.0.1 -p {} -k {sockets} -c fsync=off -c max_connections=20 -c shared_buffers=16MB",
            self.port
        );
        let log = self.folder.path().join("log");
        let (data, log) = (self.data(), log.to_str().unwrap());
        self.tool(
            "pg_ctl",
            &["start", "-w", "-t", "30", "-D", data.to_str().unwrap(), "-l", log, "-o", &options],
        );
    }

    pub fn stop(&self) {
        self.tool("pg_ctl", &["stop", "-m", "immediate", "-w", "-D", self.data().to_str().unwrap()]);
    }

    pub fn url(&self, password: &str) -> String {
        format!("postgresql://reader:{password}@127.0.0.1:{}/postgres", self.port)
    }

    pub fn url_without_password(&self) -> String {
        format!("postgresql://reader@127.0.0.1:{}/postgres", self.port)
    }

    pub async fn client(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(PASSWORD), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn tool(&self, name: &str, arguments: &[&str]) {
        let output = self.run(name, arguments);
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "{name}: {}\n{log}", String::from_utf8_lossy(&output.stderr));
    }

    /// PostgreSQL refuses to run as root, so root runs it as somebody else. Output goes to files: the server
    /// inherits pipes and would keep them open.
    fn run(&self, name: &str, arguments: &[&str]) -> Output {
        let tool = self.binaries.join(name);
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let mut command = if is_root {
            let user = if fs::read_to_string("/etc/passwd").is_ok_and(|users| users.contains("\npostgres:")) {
                "postgres"
            } else {
                "nobody"
            };
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(tool);
            command
        } else {
            Command::new(tool)
        };
        let error_file = self.folder.path().join("errors");
        let errors = fs::File::create(&error_file).unwrap();
        let status = command
            .args(arguments)
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(errors)
            .status()
            .unwrap();
        Output { status, stdout: Vec::new(), stderr: fs::read(&error_file).unwrap_or_default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate", "-D", self.data().to_str().unwrap()]);
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.data().join("postmaster.pid").exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn binaries() -> Option<PathBuf> {
    let has = |folder: &Path| folder.join("initdb").exists() && folder.join("pg_ctl").exists();
    if let Ok(folder) = std::env::var("YIBIAO_PG_BIN") {
        return Some(PathBuf::from(folder)).filter(|folder| has(folder));
    }
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    installed.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed.into_iter().rev().chain(std::env::split_paths(&path)).find(|folder| has(folder))
}

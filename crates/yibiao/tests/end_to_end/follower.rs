//! Processes beside each other, whose shards follow their group.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::world::{PATIENCE, World};

/// What says which shards a process has.
const LOG: &str = "warn,yibiao::pipeline=info,yibiao_topics=info,yibiao_tables::checkpoint=info";
const HAS: &str = "fusion goes on with these shards";

/// A process of some stages.
pub struct Follower {
    child: Option<Child>,
    config: PathBuf,
    log: PathBuf,
    stages: &'static str,
    /// Bytes of the log that do not count any more.
    before: usize,
}

impl World {
    /// The stages before fusion, in a process that follows the sources.
    pub fn reads(&self) -> Follower {
        Follower::of(self, self.path("yibiao.toml"), "reads", "connect,normalise")
    }

    /// Waits until the lake has so many places.
    pub fn until_places(&self, count: usize) {
        let until = Instant::now() + PATIENCE;
        let lake = self.lake();
        let query = ["sql", "--lake", &lake, "--format", "json", "select place_id from places"];
        loop {
            let output = self.command(&query).output().unwrap();
            // It is not there from the start.
            let places = serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout).unwrap_or_default();
            if places.len() >= count {
                return;
            }
            assert!(Instant::now() < until, "{} of {count} places are in the lake", places.len());
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Follower {
    pub fn start(world: &World, name: &str) -> Self {
        Self::of(world, world.config_of_follower(name), name, "fusion")
    }

    /// One of those that may have the normaliser.
    pub fn normaliser(world: &World, name: &str) -> Self {
        Self::of(world, world.config_of_follower(name), name, "normalise")
    }

    /// All but the normaliser.
    pub fn others(world: &World) -> Self {
        Self::of(world, world.path("yibiao.toml"), "others", "connect,fusion")
    }

    fn of(world: &World, config: PathBuf, name: &str, stages: &'static str) -> Self {
        let log = world.path(&format!("{name}.log"));
        let mut follower = Self { child: None, config, log, stages, before: 0 };
        follower.start_again(world);
        follower
    }

    /// What it said so far does not count.
    pub fn forget(&mut self) {
        self.before = self.text().len();
    }

    pub fn start_again(&mut self, world: &World) {
        self.forget();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = world.command(&["run", "--metrics", "127.0.0.1:0", "--stages", self.stages]);
        command.arg("--config").arg(&self.config).env("YIBIAO_LOG", LOG);
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The shards that it said it has, the last time.
    fn held(&self) -> Vec<u32> {
        let text = self.text();
        let last = text[self.before..].lines().rfind(|line| line.contains(HAS));
        let list =
            last.and_then(|line| line.split("shards=[").nth(1)).and_then(|rest| rest.split(']').next());
        list.into_iter().flat_map(|list| list.split(", ")).filter_map(|number| number.parse().ok()).collect()
    }

    /// Waits until the shards that it has are as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&[u32]) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !wanted(&self.held()) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the process has ended before {what}:\n{}", self.text());
            assert!(Instant::now() < until, "stuck before {what}, with {:?}:\n{}", self.held(), self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has said so since [`Follower::forget`].
    pub fn until_it_says(&mut self, words: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.text()[self.before..].contains(words) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the process has ended before '{words}':\n{}", self.text());
            assert!(Instant::now() < until, "stuck before '{words}':\n{}", self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(format!("-{name}")).arg(id).status().unwrap().success());
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// In order.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.take().unwrap().wait().unwrap();
        assert!(status.success(), "it stopped with {status}:\n{}", self.text());
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! `yibiao broker`: the embedded broker alone, so that stages in several processes can be tried without Java.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use yibiao_broker::{Broker, Config};

/// Run the embedded broker alone. For trying and testing only.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Where its records are kept.
    #[arg(long)]
    dir: PathBuf,

    /// A loopback address; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9092")]
    listen: SocketAddr,
}

impl Serve {
    pub async fn run(self) -> Result<()> {
        let mut config = Config::new(self.dir);
        config.listen = self.listen;
        let broker = Broker::start(config).await?;
        // The last line of a program that was started by another one: it reads the port from here.
        println!("{}", broker.bootstrap());
        super::until_stopped().await?;
        broker.stop().await?;
        Ok(())
    }
}

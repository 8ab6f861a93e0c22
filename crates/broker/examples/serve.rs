//! Serves an embedded broker until it is interrupted: `serve [--dir FOLDER] [--listen 127.0.0.1:9092]`.
//! The bootstrap address is printed on the first line.

use yibiao_broker::{Broker, Config};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut config = Config::new("broker");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--dir" => config.dir = value.into(),
            "--listen" => config.listen = value.parse()?,
            "--disk-bytes" => config.limits.disk_bytes = value.parse()?,
            other => {
                return Err(format!("unknown argument {other}; known: --dir, --listen, --disk-bytes").into());
            }
        }
    }
    let broker = Broker::start(config).await?;
    println!("{}", broker.bootstrap());
    tokio::signal::ctrl_c().await?;
    broker.stop().await?;
    Ok(())
}

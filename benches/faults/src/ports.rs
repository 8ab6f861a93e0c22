//! Ports of one seed's servers: a block of its own, so that seeds which run beside each other never meet.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result};

use crate::servers::BROKERS;

/// Below the ports that the system gives to connections.
const FIRST: u16 = 20_000;
const BLOCK: u16 = 8;
const BLOCKS: u16 = 1_500;
/// Two for each broker.
const POSTGRES: u16 = 2 * BROKERS as u16;

const _: () = assert!(POSTGRES < BLOCK - 1, "the last port of a block is listened on");

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Free ports in a row. The last one is listened on as long as they are taken, which others see.
pub struct Ports {
    first: u16,
    _taken: TcpListener,
}

impl Ports {
    pub fn take() -> Result<Self> {
        // Others that run this program begin elsewhere.
        let own = std::process::id() as u16 % BLOCKS;
        for _ in 0..BLOCKS {
            let block = (own + NEXT.fetch_add(1, Ordering::Relaxed) % BLOCKS) % BLOCKS;
            let first = FIRST + block * BLOCK;
            let Ok(taken) = listen(first + BLOCK - 1) else { continue };
            if (first..first + BLOCK - 1).all(|port| listen(port).is_ok()) {
                return Ok(Self { first, _taken: taken });
            }
        }
        None.context("no eight free ports in a row were found on loopback")
    }

    /// The first of two for each broker.
    pub fn brokers(&self) -> u16 {
        self.first
    }

    pub fn postgres(&self) -> u16 {
        self.first + POSTGRES
    }
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_are_taken_do_not_overlap() -> Result<()> {
        let taken = (0..20).map(|_| Ports::take()).collect::<Result<Vec<_>>>()?;
        let mut firsts: Vec<u16> = taken.iter().map(|ports| ports.first).collect();
        firsts.sort();
        assert!(firsts.windows(2).all(|pair| pair[1] - pair[0] >= BLOCK), "{firsts:?}");
        Ok(())
    }
}

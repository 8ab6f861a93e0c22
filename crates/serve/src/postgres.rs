//! The PostgreSQL wire port, over datafusion-postgres: psql, `\d`, `\dt`, drivers and tools.

use std::{net::SocketAddr, sync::Arc};

use datafusion::prelude::SessionContext;
use datafusion_postgres::{
    DfSessionService, QueryHook,
    datafusion_pg_catalog::pg_catalog::{context::EmptyContextProvider, setup_pg_catalog},
    hooks::{cursor::CursorStatementHook, set_show::SetShowHook, transactions::TransactionStatementHook},
    pgwire::{
        api::{
            ConnectionManager, PgWireServerHandlers,
            auth::{StartupHandler, noop::NoopStartupHandler},
            cancel::{CancelHandler, DefaultCancelHandler},
            query::{ExtendedQueryHandler, SimpleQueryHandler},
        },
        tokio::process_socket,
    },
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{Error, Server, http, read_only::ReadOnly};

/// Where and for how many.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: SocketAddr,
    /// There is no authentication yet: without this only loopback is listened on.
    pub allow_remote: bool,
    /// Further connections wait.
    pub connections_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 5433)), allow_remote: false, connections_max: 64 }
    }
}

struct Handlers {
    service: Arc<DfSessionService>,
    startup: Arc<Startup>,
    cancel: Arc<DefaultCancelHandler>,
}

/// Nobody is asked who they are: the port is on loopback.
struct Startup {
    connections: Arc<ConnectionManager>,
}

#[async_trait::async_trait]
impl NoopStartupHandler for Startup {
    fn connection_manager(&self) -> Option<Arc<ConnectionManager>> {
        Some(self.connections.clone())
    }
}

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        self.service.clone()
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        self.service.clone()
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        self.startup.clone()
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        self.cancel.clone()
    }
}

/// Serves `session` until `shutdown`. The session becomes PostgreSQL's: `pg_catalog` is added to its catalog.
pub async fn postgres(
    config: &Config,
    session: SessionContext,
    shutdown: CancellationToken,
) -> Result<Server, Error> {
    let what = "PostgreSQL clients";
    let listener = http::bind(what, config.listen, config.allow_remote).await?;
    let address =
        listener.local_addr().map_err(|source| Error::Listen { what, listen: config.listen, source })?;
    setup_pg_catalog(&session, yibiao_tables::CATALOG, EmptyContextProvider).map_err(Error::Catalog)?;
    let hooks: Vec<Arc<dyn QueryHook>> = vec![
        Arc::new(ReadOnly),
        Arc::new(CursorStatementHook),
        Arc::new(SetShowHook),
        Arc::new(TransactionStatementHook),
    ];
    let connections = Arc::new(ConnectionManager::new());
    let handlers = Arc::new(Handlers {
        service: Arc::new(DfSessionService::new_with_hooks(Arc::new(session), hooks)),
        cancel: Arc::new(DefaultCancelHandler::new(connections.clone())),
        startup: Arc::new(Startup { connections }),
    });
    tracing::info!(%address, "serving SQL to PostgreSQL clients");
    let task = tokio::spawn(accept(listener, handlers, config.connections_max.max(1), shutdown));
    Ok(Server { address, task })
}

async fn accept(
    listener: TcpListener,
    handlers: Arc<Handlers>,
    connections_max: usize,
    shutdown: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let handlers = handlers.clone();
                connections.spawn(async move {
                    metrics::gauge!("yibiao_sql_connections").increment(1.0);
                    if let Err(error) = process_socket(socket, None, handlers).await {
                        tracing::debug!(%error, %peer, "a PostgreSQL client's connection broke");
                    }
                    metrics::gauge!("yibiao_sql_connections").decrement(1.0);
                    drop(permit);
                });
            }
            Err(error) => tracing::warn!(%error, "accepting a PostgreSQL client failed"),
        }
        while connections.try_join_next().is_some() {}
    }
    connections.shutdown().await;
}

//! Running the server and ending it.

use std::{future::Future, io, time::Duration};

use axum::serve::ListenerExt;
use tokio::{net::TcpListener, sync::oneshot};

use crate::{AppState, router};

/// Time for the last bytes to reach their clients after the engine has ended.
const FLUSH: Duration = Duration::from_secs(5);

/// Answers on `listener` until `shutdown` is ready. Then no connection and no request is accepted
/// any more, requests in progress may go on for `drain`, and what is left after that is aborted.
/// The engine is shut down in any case.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
    drain: Duration,
) -> io::Result<()> {
    let (began, shutdown_began) = oneshot::channel();
    let signal = {
        let state = state.clone();
        async move {
            shutdown.await;
            state.set_draining();
            state.engine().shutdown(Some(drain));
            // The receiver is gone only when the server has ended by itself.
            let _ = began.send(());
        }
    };
    // A token is a small packet that must not wait for the next one.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY cannot be set: {error}");
        }
    });
    let server = axum::serve(listener, router(state.clone())).with_graceful_shutdown(signal);
    let out_of_time = async {
        if shutdown_began.await.is_ok() {
            tokio::time::sleep(drain.saturating_add(FLUSH)).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = server => result,
        () = out_of_time => {
            tracing::warn!("connections are still open after the drain time and are closed");
            Ok(())
        }
    };
    state.engine().shutdown(None);
    result
}

//! The addresses of the admin endpoint, on a thread of its own.
//!
//! The thread runs a small runtime of its own, so that a slow reader of a page costs the executors nothing. What changes
//! something wants the token of the configuration; without one, nothing can be changed.

use super::inspect::{Answer, ExecutorFigures, Inspector, Question};
use super::prometheus::{self, Text};
use crate::control::{Control, Phase};
use crate::event_logger::EventLoggerFigures;
use crate::wire::{Channel, Doid, Zone};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// Connections at once: an operator's browser, a scraper, a load balancer's probe; the next waits for one to end.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take: whoever opens connections and says nothing gives them back.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// CLIENT_EJECT of an operator who names no code (`protocol-md-ca-el.md` §3.14: 154, the server ends or throws out).
const EJECT_CODE: u16 = 154;

/// Why the admin endpoint does not start.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("no thread for the admin endpoint: {0}")]
    Thread(std::io::Error),
    #[error("no runtime for the admin endpoint: {0}")]
    Runtime(std::io::Error),
}

/// What a daemon says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Identity {
    pub name: String,
    pub id: Option<u32>,
    pub version: &'static str,
    /// As eight hexadecimal digits.
    pub dc_hash: String,
    pub pid: u32,
}

/// A running admin endpoint.
#[derive(Debug)]
pub struct AdminServer {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

struct Shared {
    identity: Identity,
    inspector: Inspector,
    control: Arc<Control>,
    event_loggers: Vec<Arc<EventLoggerFigures>>,
    started: Instant,
}

impl AdminServer {
    /// Serves `listener` until [`AdminServer::stop`].
    ///
    /// # Errors
    /// [`AdminError`] when the system has no thread to spare.
    pub fn start(
        listener: TcpListener,
        identity: Identity,
        inspector: Inspector,
        control: Arc<Control>,
        event_loggers: Vec<Arc<EventLoggerFigures>>,
    ) -> Result<Self, AdminError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Runtime)?;
        let listener = {
            let _entered = runtime.enter();
            listener.set_nonblocking(true).map_err(AdminError::Runtime)?;
            tokio::net::TcpListener::from_std(listener).map_err(AdminError::Runtime)?
        };
        let shared = Shared { identity, inspector, control, event_loggers, started: Instant::now() };
        let router = router(Arc::new(shared));
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(listener, router) => {}
                        _ = stopped => {}
                    }
                });
            })
            .map_err(AdminError::Thread)?;
        Ok(Self { stop, thread })
    }

    /// Ends it; requests at hand are cut off.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin: a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let mut builder = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_DEADLINE);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(error, "admin: a connection ended badly");
            }
        });
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(|| page("text/html; charset=utf-8", include_str!("page/index.html"))))
        .route("/admin.css", get(|| page("text/css; charset=utf-8", include_str!("page/admin.css"))))
        .route("/admin.js", get(|| page("text/javascript; charset=utf-8", include_str!("page/admin.js"))))
        .route("/metrics", get(metrics))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .route("/api/overview", get(overview))
        .route("/api/links", get(links))
        .route("/api/sessions", get(sessions))
        .route("/api/sessions/{channel}", get(session))
        .route("/api/sessions/{channel}/eject", post(eject))
        .route("/api/objects/{doid}", get(object))
        .route("/api/objects/{doid}/children", get(children))
        .route("/api/parents", get(parents))
        .route("/api/drain", post(drain))
        .route("/api/reload", post(reload))
        .with_state(shared)
}

async fn page(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        // Everything that the page needs comes from here, and no other page may show it in a frame.
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

impl Shared {
    /// The figures of the executors that answered, and how many did not.
    async fn figures(&self) -> (Vec<ExecutorFigures>, usize) {
        let answers = self.inspector.ask_all(&Question::Figures).await;
        let silent = answers.iter().filter(|answer| answer.is_none()).count();
        let figures = answers.into_iter().flatten().filter_map(|answer| match answer {
            Answer::Figures(figures) => Some(*figures),
            _ => None,
        });
        (figures.collect(), silent)
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let (executors, silent) = shared.figures().await;
    let mut text = Text::default();
    text.family("donet_build_info", "gauge", "What runs: always 1.");
    let identity = &shared.identity;
    let id = identity.id.map_or(String::new(), |id| id.to_string());
    let labels =
        [("version", identity.version), ("name", &identity.name), ("id", &id), ("dc_hash", identity.dc_hash.as_str())];
    text.sample("donet_build_info", &labels, 1);
    text.single("donet_up_seconds", "gauge", "Time since the start.", shared.started.elapsed().as_secs_f64());
    text.single("donet_executors", "gauge", "Executors of this daemon.", shared.inspector.shards());
    let help = "Executors that did not answer within two seconds; their figures are missing here.";
    text.single("donet_executors_silent", "gauge", help, silent);
    let help = "1 while new clients are admitted, 0 while the daemon is drained or ends.";
    text.single("donet_ready", "gauge", help, u8::from(shared.unready().is_none()));
    process(&mut text);
    text.event_loggers(&shared.event_loggers);
    let databases = executors.iter().map(|executor| &executor.databases[..]).find(|databases| !databases.is_empty());
    text.databases(databases.unwrap_or_default());
    text.executors(&executors);
    ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text.finish())
}

/// What the system says of this process, under the names that Prometheus' client libraries use.
fn process(text: &mut Text) {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        && let Some((_, rest)) = stat.rsplit_once(") ")
    {
        // Counted from the field behind the name (proc_pid_stat(5): utime is 14, stime 15, rss 24).
        let fields: Vec<u64> = rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect();
        if let (Some(user), Some(system), Some(pages)) = (fields.get(11), fields.get(12), fields.get(21)) {
            let seconds = (user + system) as f64 / ticks_per_second;
            text.single("process_cpu_seconds_total", "counter", "User and system CPU time of the process.", seconds);
            let bytes = pages * rustix::param::page_size() as u64;
            text.single("process_resident_memory_bytes", "gauge", "Resident memory of the process.", bytes);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        text.single("process_open_fds", "gauge", "Open file descriptors.", open.count());
    }
    if let Some(max) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        text.single("process_max_fds", "gauge", "File descriptors that may be open.", max);
    }
}

/// 200 while every executor takes turns.
async fn health(State(shared): State<Arc<Shared>>) -> Response {
    match shared.figures().await.1 {
        0 => (StatusCode::OK, "ok\n").into_response(),
        silent => (StatusCode::SERVICE_UNAVAILABLE, format!("{silent} executors did not answer within two seconds\n"))
            .into_response(),
    }
}

/// 200 while new clients and links are welcome.
async fn readiness(State(shared): State<Arc<Shared>>) -> Response {
    if let Some(why) = shared.unready() {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    }
    health(State(shared)).await
}

async fn overview(State(shared): State<Arc<Shared>>) -> Json<serde_json::Value> {
    let (executors, silent) = shared.figures().await;
    let executors: Vec<_> = executors
        .iter()
        .map(|executor| {
            let figures =
                executor.counters.figures().chain(executor.queues.figures()).chain(executor.metrics.figures());
            let mut map: serde_json::Map<_, _> =
                figures.map(|figure| (figure.name.to_owned(), figure.value.into())).collect();
            let times = &executor.counters.turn_times;
            map.insert("shard".to_owned(), executor.shard.0.into());
            map.insert("turns_us".to_owned(), times.sum_us().into());
            map.insert("slow_turns".to_owned(), times.slow().into());
            map.insert("subscribed_channels".to_owned(), executor.subscribed_channels.into());
            map
        })
        .collect();
    Json(json!({
        "identity": shared.identity,
        "up_seconds": shared.started.elapsed().as_secs_f64(),
        "ring_batches_limit": donet_shards::mesh::RING_BATCHES,
        "may_change": shared.control.config().admin.token.is_some(),
        "silent": silent,
        "phase": shared.unready().unwrap_or("serving"),
        "executors": executors,
    }))
}

async fn links(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let answers = shared.inspector.ask_all(&Question::Links).await.into_iter().flatten();
    let links: Vec<_> = answers
        .flat_map(|answer| match answer {
            Answer::Links(links) => links,
            _ => Vec::new(),
        })
        .collect();
    Json(links)
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    search: String,
}

async fn sessions(State(shared): State<Arc<Shared>>, Query(Search { search }): Query<Search>) -> impl IntoResponse {
    let answers = shared.inspector.ask_all(&Question::Sessions { search }).await.into_iter().flatten();
    let mut sessions: Vec<_> = answers
        .flat_map(|answer| match answer {
            Answer::Sessions(sessions) => sessions,
            _ => Vec::new(),
        })
        .collect();
    sessions.sort_unstable_by_key(|session| session.channel);
    Json(sessions)
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": what }))).into_response()
}

async fn session(State(shared): State<Arc<Shared>>, Path(channel): Path<Channel>) -> Response {
    let answers = shared.inspector.ask_all(&Question::Session(channel)).await.into_iter().flatten();
    let mut found = answers.filter_map(|answer| if let Answer::Session(session) = answer { session } else { None });
    found.next().map_or_else(|| missing("no session has this channel"), |session| Json(session).into_response())
}

async fn object(State(shared): State<Arc<Shared>>, Path(doid): Path<Doid>) -> Response {
    let answers = shared.inspector.ask_all(&Question::Object(doid)).await.into_iter().flatten();
    let mut found = answers.filter_map(|answer| if let Answer::Object(object) = answer { object } else { None });
    found.next().map_or_else(|| missing("no live object has this doid"), |object| Json(object).into_response())
}

#[derive(Deserialize)]
struct InZone {
    zone: Option<Zone>,
}

async fn children(
    State(shared): State<Arc<Shared>>,
    Path(parent): Path<Doid>,
    Query(InZone { zone }): Query<InZone>,
) -> impl IntoResponse {
    let answers = shared.inspector.ask_all(&Question::Children { parent, zone }).await.into_iter().flatten();
    let mut children: Vec<_> = answers
        .flat_map(|answer| match answer {
            Answer::Children(children) => children,
            _ => Vec::new(),
        })
        .collect();
    children.sort_unstable_by_key(|child| (child.zone, child.doid));
    Json(children)
}

async fn parents(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let answers = shared.inspector.ask_all(&Question::Parents).await.into_iter().flatten();
    let mut parents: Vec<_> = answers
        .flat_map(|answer| match answer {
            Answer::Parents(parents) => parents,
            _ => Vec::new(),
        })
        .collect();
    parents.sort_unstable();
    parents.dedup();
    Json(parents)
}

#[derive(Deserialize)]
struct Eject {
    #[serde(default = "default_code")]
    code: u16,
    #[serde(default)]
    text: String,
}

const fn default_code() -> u16 {
    EJECT_CODE
}

async fn eject(
    State(shared): State<Arc<Shared>>,
    Path(session): Path<Channel>,
    headers: HeaderMap,
    Json(Eject { code, text }): Json<Eject>,
) -> Response {
    if let Err(refusal) = shared.authorize(&headers) {
        tracing::warn!(session, "admin: an eject was refused: no token, or a wrong one");
        return refusal.into_response();
    }
    let question = Question::Eject { session, code, text: text.clone() };
    let answers = shared.inspector.ask_all(&question).await.into_iter().flatten();
    let ejected = answers.into_iter().any(|answer| matches!(answer, Answer::Ejected(true)));
    tracing::info!(audit = true, session, code, text, ejected, "admin: eject");
    if ejected { Json(json!({ "ejected": session })).into_response() } else { missing("no session has this channel") }
}

/// Drains the daemon (`[admin] drain_deadline_s`).
async fn drain(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = shared.authorize(&headers) {
        tracing::warn!("admin: a drain was refused: no token, or a wrong one");
        return refusal.into_response();
    }
    match shared.control.drain() {
        Ok(status) => {
            tracing::info!(audit = true, was_draining = status.was_draining, "admin: drain");
            (StatusCode::ACCEPTED, Json(status)).into_response()
        }
        Err(error) => (StatusCode::CONFLICT, Json(json!({ "error": error.to_string() }))).into_response(),
    }
}

/// Has the daemon take over its files anew. What was changed and what needs a restart; 422 with the diagnostic when
/// nothing was changed.
async fn reload(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = shared.authorize(&headers) {
        tracing::warn!("admin: a reload was refused: no token, or a wrong one");
        return refusal.into_response();
    }
    let control = shared.control.clone();
    // Files are read and names resolved: other requests need not wait for it.
    let reloaded = tokio::task::spawn_blocking(move || control.reload()).await;
    let reloaded = reloaded.unwrap_or_else(|error| Err(format!("the reload broke off: {error}")));
    tracing::info!(audit = true, done = reloaded.is_ok(), "admin: reload");
    match reloaded {
        Ok(report) => Json(report).into_response(),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "error": error }))).into_response(),
    }
}

impl Shared {
    /// Why new clients are not welcome, if they are not.
    fn unready(&self) -> Option<&'static str> {
        match self.control.phase() {
            Phase::Serving => None,
            Phase::Draining { .. } => Some("draining"),
            Phase::Ending => Some("ending"),
        }
    }

    /// Whether the request carries the token: `Authorization: Bearer …`.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), impl IntoResponse + use<>> {
        let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
            let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
        });
        let refusal = |status, text| (status, Json(json!({ "error": text })));
        match (&self.control.config().admin.token, given) {
            (None, _) => Err(refusal(StatusCode::FORBIDDEN, "read-only: [admin] token is not configured")),
            (Some(token), Some(given)) if same(token.as_bytes(), given) => Ok(()),
            (Some(_), _) => Err(refusal(StatusCode::UNAUTHORIZED, "the token is missing or wrong")),
        }
    }
}

/// Equality that takes as long for a wrong token as for the right one, but for the length.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

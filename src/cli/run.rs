//! `logmachine run`: flags over environment over file, then the node until it is told to stop.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use super::{Failure, cookie, say};
use crate::app::{App, Settings};
use crate::config::{ConfigError, EpmdMode, File, LogFormat};
use crate::node::NodeConfig;
use crate::proto::NodeName;

/// Every flag is also a key of the configuration file and an environment variable; a flag beats the
/// environment, the environment beats the file.
#[derive(Args, Default)]
pub(super) struct Run {
    /// Configuration file, TOML
    #[arg(long, value_name = "FILE", env = "LOGMACHINE_CONFIG")]
    config: Option<PathBuf>,
    /// Long node name [env: LOGMACHINE_NAME]
    #[arg(long, value_name = "N@HOST", conflicts_with = "sname")]
    name: Option<String>,
    /// Short node name; the host's short name is added [env: LOGMACHINE_SNAME] [default: logmachine]
    #[arg(long, value_name = "N")]
    sname: Option<String>,
    /// File with the cookie; made if missing, refused if others can read it [default: ~/.erlang.cookie]
    #[arg(long, value_name = "F", env = "LOGMACHINE_COOKIE_FILE")]
    cookie_file: Option<PathBuf>,
    /// The cookie itself; for tests, as it shows in process lists
    #[arg(long, value_name = "C", env = "LOGMACHINE_SETCOOKIE", hide_env_values = true)]
    setcookie: Option<String>,
    /// Node to join; `local` joins every node of this host as it registers. Repeatable
    #[arg(long, value_name = "NODE", env = "LOGMACHINE_CONNECT", value_delimiter = ',')]
    connect: Vec<String>,
    /// Instance to run. Repeatable [default: error_logger]
    #[arg(long, value_name = "NAME", env = "LOGMACHINE_INSTANCE", value_delimiter = ',')]
    instance: Vec<String>,
    /// Directory of the logs; instance NAME logs in DIR/NAME [default: ./data]
    #[arg(long, value_name = "DIR", env = "LOGMACHINE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on for other nodes; port 0 takes any
    /// [default: loopback, or the address of the node name's host]
    #[arg(long, value_name = "ADDR[:PORT]", env = "LOGMACHINE_LISTEN")]
    listen: Option<String>,
    /// Where to serve HTTP, or `off`; accepted so that configurations can be written, not served yet
    #[arg(long, value_name = "ADDR:PORT|off", env = "LOGMACHINE_HTTP")]
    http: Option<String>,
    /// Port mapper to use [default: auto]
    #[arg(long, value_enum, env = "LOGMACHINE_EPMD")]
    epmd: Option<EpmdMode>,
    /// Form of the diagnostics on standard error [default: text]
    #[arg(long, value_enum, env = "LOGMACHINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// More diagnostics; twice for every packet
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

impl Run {
    pub(super) fn run(self) -> Result<(), Failure> {
        let file = match &self.config {
            Some(path) => File::read(path).map_err(Failure::usage)?,
            None => File::default(),
        };
        diagnose(self.log_format.or(file.node.log_format), self.verbose);
        let mut settings = self.settle(&file).map_err(Failure::usage)?;
        let cookie_file = self.cookie_file.as_deref().or(file.node.cookie_file.as_deref());
        settings.cookie = match &self.setcookie {
            Some(cookie) => cookie.clone(),
            None => cookie::read(cookie_file).map_err(Failure::usage)?,
        };
        let http = self.http.as_ref().or(file.http.listen.as_ref()).filter(|http| *http != "off");
        if let Some(http) = http {
            let _: SocketAddr = http.parse().map_err(|_| {
                Failure::usage(format!("--http {http:?}: write address:port, or off"))
            })?;
            tracing::warn!("--http {http}: this version does not serve HTTP yet");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(Failure::failed)?.block_on(serve(settings))
    }

    /// Everything but the cookie, from flags, environment and file.
    pub(super) fn settle(&self, file: &File) -> Result<Settings, ConfigError> {
        let section = &file.node;
        let data_dir = self.data_dir.clone().or(section.data_dir.clone());
        let data_dir = data_dir.unwrap_or_else(|| "data".into());
        let connect = if self.connect.is_empty() { &section.connect } else { &self.connect };
        let is_local = |node: &&String| *node == "local";
        let seeds = connect.iter().filter(|node| !is_local(node));
        let listen = self.listen.as_ref().or(section.listen.as_ref());
        let net_ticktime = section.net_ticktime.map_or(Duration::from_secs(60), |span| span.0);
        Ok(Settings {
            name: self.node_name(file)?,
            cookie: String::new(),
            connect: seeds.map(|node| node_name(node)).collect::<Result<_, _>>()?,
            connect_local: connect.iter().any(|node| is_local(&node)),
            listen: listen.map(|listen| address(listen)).transpose()?,
            epmd: self.epmd.or(section.epmd).unwrap_or(EpmdMode::Auto),
            node: NodeConfig { net_ticktime, allow: section.allow.clone() },
            instances: file.instances(&self.instance, &data_dir)?,
        })
    }

    fn node_name(&self, file: &File) -> Result<NodeName, ConfigError> {
        let flags = self.name.is_some() || self.sname.is_some();
        let (name, sname) =
            if flags { (&self.name, &self.sname) } else { (&file.node.name, &file.node.sname) };
        if name.is_some() && sname.is_some() {
            return Err(ConfigError::Value("a node has either a name or a sname".into()));
        }
        if let Some(name) = name {
            let parsed = node_name(name)?;
            if !parsed.host().contains('.') {
                return Err(ConfigError::Value(format!(
                    "long node name {name}: its host needs a dot, as in n@host.example.com or n@127.0.0.1; use --sname for short names"
                )));
            }
            return Ok(parsed);
        }
        let sname = sname.as_deref().unwrap_or("logmachine");
        let full = if sname.contains('@') {
            sname.to_owned()
        } else {
            let host = gethostname::gethostname().to_string_lossy().into_owned();
            format!("{sname}@{}", host.split('.').next().unwrap_or_default())
        };
        let parsed = node_name(&full)?;
        if parsed.host().contains('.') {
            return Err(ConfigError::Value(format!(
                "short node name {full}: its host must not have a dot; use --name for long names"
            )));
        }
        Ok(parsed)
    }
}

fn node_name(name: &str) -> Result<NodeName, ConfigError> {
    NodeName::new(name)
        .ok_or_else(|| ConfigError::Value(format!("{name:?} is no node name: write name@host")))
}

/// `ADDR` or `ADDR:PORT`.
fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let parsed = text.parse().or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)));
    parsed.or_else(|_| {
        // `:PORT` means loopback.
        let port = text.strip_prefix(':').and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| {
            ConfigError::Value(format!("--listen {text:?}: write an address, or address:port"))
        })?;
        Ok(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
    })
}

/// Sends diagnostics to standard error. The first call counts.
pub(super) fn diagnose(format: Option<LogFormat>, verbose: u8) {
    let level = match verbose {
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("logmachine={level},warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let result = match format {
        Some(LogFormat::Json) => builder.json().try_init(),
        _ => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(is_terminal).with_target(false).try_init()
        }
    };
    debug_assert!(result.is_ok(), "diagnostics are set up once");
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    // Before anything can be interrupted half-way.
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let name = settings.name.clone();
    let app = App::start(settings).await.map_err(Failure::failed)?;
    say(&format!("logmachine {name} ready"));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping");
    app.stop().await;
    Ok(())
}

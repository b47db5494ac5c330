//! `logmachine run`: flags over environment over file, then the node until it is told to stop.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::verbosity::{self, environment};
use super::{Failure, cookie, say};
use crate::app::{App, Settings};
use crate::config::{ConfigError, EpmdMode, File, LogFormat, check};
use crate::diagnostics;
use crate::node::NodeConfig;
use crate::proto::NodeName;

/// A flag beats its environment variable, that beats the key of the configuration file.
#[derive(Args, Default)]
pub(super) struct Run {
    /// Configuration file: TOML, or the original's terms if its name ends in `.config`
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
    /// Where to serve HTTP, or `off` [default: 127.0.0.1:4370]
    #[arg(long, value_name = "ADDR:PORT|off", env = "LOGMACHINE_HTTP")]
    http: Option<String>,
    /// Port mapper to use [default: auto]
    #[arg(long, value_enum, env = "LOGMACHINE_EPMD")]
    epmd: Option<EpmdMode>,
    /// Form of the diagnostics on standard error [default: text]
    #[arg(long, value_enum, env = "LOGMACHINE_LOG_FORMAT")]
    log_format: Option<LogFormat>,
}

impl ValueEnum for EpmdMode {
    fn value_variants<'a>() -> &'a [Self] {
        &[EpmdMode::Auto, EpmdMode::External, EpmdMode::Embedded, EpmdMode::None]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            EpmdMode::Auto => ("auto", "The one that runs, or else our own"),
            EpmdMode::External => ("external", "The one that runs"),
            EpmdMode::Embedded => ("embedded", "Our own"),
            EpmdMode::None => ("none", "None: only nodes that know our port can call us"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl ValueEnum for LogFormat {
    fn value_variants<'a>() -> &'a [Self] {
        &[LogFormat::Text, LogFormat::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            LogFormat::Text => ("text", "Lines for people"),
            LogFormat::Json => ("json", "A JSON object a line"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

impl Run {
    pub(super) fn run(mut self, verbosity: verbosity::Flags) -> Result<(), Failure> {
        let file = match &self.config {
            Some(path) => File::read(path).map_err(Failure::usage)?,
            None => File::default(),
        };
        let format = self.log_format.or(file.node.log_format);
        verbosity.diagnose(format, &file.node).map_err(Failure::usage)?;
        if self.name.is_none() && self.sname.is_none() {
            // Not by way of the parser: to it a variable for one and a flag for the other would be a conflict.
            self.name = environment("LOGMACHINE_NAME");
            self.sname = environment("LOGMACHINE_SNAME");
        }
        let mut settings = self.settle(&file).map_err(Failure::usage)?;
        let cookie_file = self.cookie_file.as_deref().or(file.node.cookie_file.as_deref());
        settings.cookie = match &self.setcookie {
            Some(cookie) => cookie.clone(),
            None => cookie::read(cookie_file).map_err(Failure::usage)?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.map_err(Failure::failed)?.block_on(self.serve(settings))
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
        let node = NodeConfig { net_ticktime, allow: section.allow.clone(), ..Default::default() };
        let seeds: Result<Vec<_>, _> = seeds.map(|node| check::node_name(node)).collect();
        let seeds = seeds.map_err(|why| ConfigError::Value(format!("--connect: {why}")))?;
        if let Some(seed) = seeds.iter().find(|seed| !node.allows(seed.as_str())) {
            return Err(ConfigError::Value(format!(
                "node {seed} is to be joined, but `allow` leaves it out: it holds for nodes that we call, too"
            )));
        }
        Ok(Settings {
            name: self.node_name(file)?,
            cookie: String::new(),
            connect: seeds,
            connect_local: connect.iter().any(|node| is_local(&node)),
            listen: {
                let address = listen.map(|listen| check::address(listen)).transpose();
                address.map_err(|why| ConfigError::Value(format!("--listen {why}")))?
            },
            epmd: self.epmd.or(section.epmd).unwrap_or(EpmdMode::Auto),
            node,
            instances: file.instances(&self.instance, &data_dir)?,
            fault_rules: file.fault_rules(),
            analyses: file.analyses(),
            rules: file.rules(),
            notify: file.notify(),
            http: {
                let http = file.http(self.http.as_deref())?;
                http.as_ref()
                    .map_or(Ok(()), crate::api::check)
                    .map_err(|wrong| ConfigError::Value(wrong.to_string()))?;
                http
            },
        })
    }

    fn node_name(&self, file: &File) -> Result<NodeName, ConfigError> {
        let flags = self.name.is_some() || self.sname.is_some();
        let (name, sname) =
            if flags { (&self.name, &self.sname) } else { (&file.node.name, &file.node.sname) };
        if name.is_some() && sname.is_some() {
            return Err(ConfigError::Value(
                "a node has either a long name or a short one: --name or --sname, LOGMACHINE_NAME or LOGMACHINE_SNAME, name or sname".into(),
            ));
        }
        let named = match name {
            Some(name) => check::long_name(name),
            None => check::short_name(sname.as_deref().unwrap_or("logmachine")),
        };
        named.map_err(ConfigError::Value)
    }

    async fn serve(&self, settings: Settings) -> Result<(), Failure> {
        // Before anything can be interrupted half-way.
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let name = settings.name.clone();
        let app = App::start(settings).await.map_err(Failure::failed)?;
        // Whoever reads the line may be as stuck as a reader of diagnostics: the signals below are heard all the same.
        let ready = move || {
            // What was said on the way here comes first, if somebody reads it.
            diagnostics::flush();
            say(&format!("logmachine {name} ready"));
        };
        let _ = std::thread::Builder::new().name("ready".into()).spawn(ready);
        loop {
            // A signal that loses the race is heard in the next round.
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => self.reload(&app).await,
            }
        }
        info!("stopping");
        app.stop().await.map_err(Failure::failed)
    }

    /// Reads again what can change while the node runs, and says what came of it.
    async fn reload(&self, app: &App) {
        match self.reloaded(app).await {
            Ok(changed) => info!("SIGHUP: read again: {changed}"),
            Err(wrong) => error!("SIGHUP: nothing changed: {wrong}"),
        }
    }

    async fn reloaded(&self, app: &App) -> Result<String, String> {
        let file = match &self.config {
            Some(path) => File::read(path).map_err(|wrong| wrong.to_string())?,
            None => File::default(),
        };
        // All of it is looked at before anything changes.
        let mut settings = self.settle(&file).map_err(|wrong| wrong.to_string())?;
        let http = match settings.http.take() {
            Some(http) => app.reload_http(&http).map_err(|wrong| wrong.to_string())?,
            None => "HTTP is off".to_owned(),
        };
        Ok(format!("{http}, {}", app.reload(settings).await))
    }
}

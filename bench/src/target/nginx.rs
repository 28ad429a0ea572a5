//! nginx: a proxy that records nothing, as lean as it gets.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::{CHAT_PATH, Ground, KEY, Target, free_address, headers};
use crate::books::Books;
use crate::client::Road;
use crate::process::Process;

pub(crate) fn start(ground: &Ground<'_>) -> anyhow::Result<Target> {
    let (folder, address) = (ground.folder.join("nginx"), free_address()?);
    fs::create_dir_all(&folder)?;
    let configuration = folder.join("nginx.conf");
    fs::write(&configuration, configuration_of(&folder, address, ground.simulator_address()?))?;
    let mut command = ground.core.command("nginx");
    command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(&folder).arg("-c").arg(&configuration);
    let process = Some(Process::start(command, &folder.join("log"))?);
    let road = Road::new(address, CHAT_PATH, headers(KEY)?)?;
    Ok(Target { name: "nginx", road, process, books: Books::None })
}

/// One worker, connections kept on both sides, answers passed on as they come, no log. What it may have to write down is in
/// its folder; requests and answers of this size stay in memory.
fn configuration_of(folder: &Path, listen: SocketAddr, simulator: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 32768;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream simulator {{
        server {simulator};
        keepalive 8192;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {listen};
        location /api/v1/ {{
            proxy_pass http://simulator;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
        }}
    }}
}}
"
    )
}

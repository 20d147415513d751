#!/usr/bin/env bash
# engine.sh COMMAND...: run a command with a Docker engine.
#
# Where an engine answers, it is used, with the images that it has or pulls. Else, as root on
# Debian 12 or 13, an engine runs for as long as the command does. Its images are made of packages of
# Debian and PyPI, under the names that the files pull: no registry is needed, and no image is the
# official one. It leaves nothing behind but ENGINE_HOME, which the next start is quicker with.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
home=${ENGINE_HOME:-/var/tmp/orders-dask-engine}
suite=trixie

fail() { echo "test-compose: $*" >&2; exit 1; }

main() {
  if docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then exec "$@"; fi
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null \
    || fail "no Docker engine with Compose answers, and only root on Debian can have one of its own: start Docker."
  mkdir -p "$home"
  [ "$(df --output=avail -k "$home" | tail -1)" -gt 5000000 ] \
    || fail "an engine of its own needs 5 GB in $home: free some, or name another folder by ENGINE_HOME."
  export DOCKER_HOST=unix://$home/docker.sock DOCKER_CONFIG=$home/client
  install_packages
  mirror=$(debian_mirror)
  [ -n "$mirror" ] || { update_lists; mirror=$(debian_mirror); }
  install_plugins
  start_engine
  remove_leftovers
  make_images
  "$@"
}

# A source that can't be reached, and that nothing is installed from, does no harm.
update_lists() { apt-get -qq update >"$home/apt.log" 2>&1 || true; }

install_packages() {
  local missing=()
  command -v dockerd >/dev/null || missing+=(docker.io)
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  [ ${#missing[@]} = 0 ] && return
  update_lists
  DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" \
    >>"$home/apt.log" 2>&1 || fail "apt-get can't install ${missing[*]}: see $home/apt.log."
}

# The archive of Debian that this machine installs from.
debian_mirror() {
  apt-cache policy | awk '$2 ~ "^http.*/debian/?$" && !mirror {mirror = $2} END {print mirror}'
}

# Debian 12 has Compose 1 alone. Those of Debian 13 are static enough to run on 12.
install_plugins() {
  local apt=$home/apt plugins=$home/client/cli-plugins
  [ -x "$plugins/docker-compose" ] && [ -x "$plugins/docker-buildx" ] && return
  mkdir -p "$plugins" "$apt"/{lists/partial,archives/partial,debs}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
    >"$apt/sources.list"
  local options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o APT::Sandbox::User=root)
  apt-get -qq "${options[@]}" update
  (cd "$apt/debs" && apt-get -qq "${options[@]}" download docker-compose docker-buildx)
  for deb in "$apt"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" \
      | tar -x -C "$plugins" --strip-components=5 ./usr/libexec/docker/cli-plugins
  done
  rm -r "$apt"
}

# Without packet filter rules, routing and docker0, nothing of the host's network is changed. Networks
# of containers reach neither each other nor the internet; published ports are served by a proxy.
start_engine() {
  dockerd --data-root "$home/data" --exec-root "$home/exec" --pidfile "$home/pid" --host "$DOCKER_HOST" \
    --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
    >"$home/log" 2>&1 &
  engine=$!
  trap stop_engine EXIT
  for _ in $(seq 120); do
    if docker info >/dev/null 2>&1; then return; fi
    kill -0 "$engine" 2>/dev/null || fail "the Docker engine ended at once: $(tail -1 "$home/log")"
    sleep 0.25
  done
  fail "the Docker engine doesn't answer after 30 s: see $home/log."
}

# What a start that was killed has left, and what builds that nobody needs any more have.
remove_leftovers() {
  docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes
  docker volume ls --quiet | xargs --no-run-if-empty docker volume rm
  docker network prune --force
  docker image prune --force
  docker builder prune --force --keep-storage 4gb
} >/dev/null

stop_engine() {
  kill "$engine" 2>/dev/null || true
  wait "$engine" 2>/dev/null || true
}

make_images() {
  has_image python:3.13-slim || make_python
  has_image postgres:18 || build postgres:18 postgres
  has_image chrislusf/seaweedfs:4.48 || build chrislusf/seaweedfs:4.48 seaweedfs
}

has_image() { docker image inspect "$1" >/dev/null 2>&1; }

build() { docker build --quiet --network host --tag "$1" "$here/standins/$2" >/dev/null; }

# Debian 13 and its Python 3.13, with what else the official image has, and this machine's certificates
# and settings of pip.
make_python() {
  mmdebstrap --quiet --mode=root --variant=apt \
    --include=ca-certificates,netbase,passwd,python3,python3-pip,python3-venv,tzdata \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
    --customize-hook="copy-in $here/standins/docker-clean /etc/apt/apt.conf.d" \
    --customize-hook='rm -f "$1"/var/cache/apt/*.bin' \
    --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1"/etc/ssl/certs/' \
    --customize-hook='if [ -e /etc/pip.conf ]; then cp /etc/pip.conf "$1"/etc/; fi' \
    --customize-hook='rm "$1"/usr/lib/python3.13/EXTERNALLY-MANAGED' \
    --customize-hook='for name in python python3 python3.13; do
      ln -s /usr/bin/python3.13 "$1/usr/local/bin/$name"; done' \
    "$suite" - "$mirror" \
    | docker import --change 'CMD ["python3"]' \
      --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' - python:3.13-slim >/dev/null
}

main "$@"

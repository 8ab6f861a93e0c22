#!/usr/bin/env bash
# Fetches and runs Apache Kafka 4 on loopback, for tests. Needs JDK 17 or later, and Maven for the first fetch.
#
#   kafka.sh start  --dir DIR [--brokers 1|3] [--port PORT] [--heap 512m] [--light]
#                                          starts, waits until ready, prints the bootstrap
#   kafka.sh stop   --dir DIR [--force]    ends the brokers of DIR (--force: as a power cut would, kill -9)
#   kafka.sh status --dir DIR              prints the bootstrap and each broker's state; 1 if any is down
#   kafka.sh fetch                         only fills the cache of jars
#
# A folder that was started before keeps its brokers, ports, options and records: start after stop continues with them.
# --light is for clusters of some minutes: classes come from an archive, and code is compiled once and not for speed, so that a
# broker starts and runs for a third of the processor time, and small buffers make three fit into half a gigabyte.
# KRaft combined mode: every broker is also a controller. Listens on 127.0.0.1 only.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's:.*<kafka.version>\(.*\)</kafka.version>.*:\1:p' "$here/pom.xml")
cache=${YIBIAO_KAFKA_CACHE:-$HOME/.cache/yibiao/kafka}
jars=$cache/$version
ready_within_s=${YIBIAO_KAFKA_READY_S:-90}

fail() { echo "kafka.sh: $*" >&2; exit 1; }

java_command() {
  local java=java
  [[ -n "${JAVA_HOME:-}" ]] && java=$JAVA_HOME/bin/java
  command -v "$java" >/dev/null || fail "java was not found: install JDK 17 or later, or set JAVA_HOME"
  local major
  major=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  [[ "${major:-0}" -ge 17 ]] || fail "java ${major:-unknown} is too old: Kafka 4 needs 17 or later (set JAVA_HOME)"
  echo "$java"
}

# Maven writes into a folder beside the cache that is renamed when whole, so an interrupted fetch leaves nothing half done.
fetch() {
  [[ -d "$jars" ]] && return
  command -v mvn >/dev/null || fail "maven was not found: install it, or put Kafka's jars into $jars"
  mkdir -p "$cache"
  (
    flock 9
    [[ -d "$jars" ]] && exit 0
    local partial=$cache/.partial-$version
    rm -rf "$partial"
    echo "fetching Apache Kafka $version into $jars" >&2
    mvn -q -B -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$partial" >&2 || fail "maven could not fetch Kafka: see the lines above"
    mv "$partial" "$jars"
  ) 9>"$cache/.lock"
}

# What a broker has on its disk before it starts: that differs between brokers only by ids.
format() {
  local template=$cache/formatted-$version data=$dir/broker-$1/data
  if [[ ! -d "$template" ]]; then
    local partial
    partial=$(mktemp -d "$cache/.formatting-XXXXXX")
    sed "s:^log.dirs=.*:log.dirs=$partial/data:" "$dir/broker-$1/server.properties" >"$partial/server.properties"
    "$java" -Xmx128m -cp "$jars/*" "-Dlog4j2.configurationFile=$here/log4j2.properties" \
      "-Dyibiao.kafka.log=$partial/format.log" \
      kafka.tools.StorageTool format -t "$(cat "$dir/cluster")" -c "$partial/server.properties" >"$partial/format.out" 2>&1 ||
      fail "the storage of a broker could not be formatted: $(tail -1 "$partial/format.out")"
    # Where somebody else was first, theirs is as good.
    mv -T "$partial/data" "$template" 2>/dev/null || true
    rm -rf "$partial"
  fi
  mkdir -p "$data"
  cp "$template/bootstrap.checkpoint" "$data"
  printf 'node.id=%s\ndirectory.id=%s\nversion=1\ncluster.id=%s\n' "$1" "$(new_id)" "$(cat "$dir/cluster")" \
    >"$data/meta.properties"
}

# As Kafka writes an id: 16 bytes in the alphabet of URLs, here without what it reserves.
new_id() { echo "A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | head -c 20)w"; }

# The classes that a broker loads while it starts, as one file that is mapped. Made once, by a broker that ends.
archive_classes() {
  local of
  of=$("$java" -version 2>&1 | cksum | cut -d' ' -f1)
  archive=$cache/classes-$version-$of.jsa
  [[ -f "$archive" ]] && return
  (
    flock 8
    [[ -f "$archive" ]] && exit 0
    trial=$(mktemp -d)
    YIBIAO_KAFKA_ARCHIVE_TO=$archive.partial "$here/kafka.sh" start --dir "$trial" >/dev/null
    "$here/kafka.sh" stop --dir "$trial"
    rm -rf "$trial"
    mv "$archive.partial" "$archive"
  ) 8>"$cache/.archive.lock"
}

java_options() {
  local options="-Xmx$heap -XX:+UseSerialGC"
  if [[ -n "${YIBIAO_KAFKA_ARCHIVE_TO:-}" ]]; then
    options+=" -XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit=$YIBIAO_KAFKA_ARCHIVE_TO"
  elif [[ -n "$light" ]]; then
    archive_classes
    options+=" -XX:TieredStopAtLevel=1 -XX:SharedArchiveFile=$archive"
  else
    options+=" -Xms128m"
  fi
  echo "$options"
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
  local port
  for _ in $(seq 100); do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if port_is_free "$port" && [[ " $* " != *" $port "* ]]; then echo "$port"; return; fi
  done
  fail "no free port was found on loopback"
}

# The pid file alone is not trusted: the process must be the one that this folder's broker was started as.
pid_of() {
  local pid_file=$dir/broker-$1/pid pid
  [[ -f "$pid_file" ]] || return 1
  pid=$(cat "$pid_file")
  [[ -r "/proc/$pid/cmdline" ]] && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF "$dir/broker-$1/server.properties" && echo "$pid"
}

layout() {
  local id ports=() voters="" bootstrap="" cluster
  for id in $(seq "$brokers"); do
    if [[ -n "$port" ]]; then ports+=("$((port + 2 * (id - 1)))" "$((port + 2 * (id - 1) + 1))")
    else ports+=("$(free_port "${ports[@]}")"); ports+=("$(free_port "${ports[@]}")"); fi
    bootstrap+="127.0.0.1:${ports[-2]},"
    voters+="$id@127.0.0.1:${ports[-1]},"
  done
  cluster=$(new_id)
  for id in $(seq "$brokers"); do
    mkdir -p "$dir/broker-$id"
    cat >"$dir/broker-$id/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$id
controller.quorum.voters=${voters%,}
listeners=PLAINTEXT://127.0.0.1:${ports[$((2 * id - 2))]},CONTROLLER://127.0.0.1:${ports[$((2 * id - 1))]}
advertised.listeners=PLAINTEXT://127.0.0.1:${ports[$((2 * id - 2))]}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/broker-$id/data
auto.create.topics.enable=false
default.replication.factor=$brokers
min.insync.replicas=$(((brokers + 1) / 2))
offsets.topic.replication.factor=$brokers
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$brokers
transaction.state.log.min.isr=$(((brokers + 1) / 2))
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$brokers
share.coordinator.state.topic.min.isr=$(((brokers + 1) / 2))
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
PROPERTIES
    [[ -z "$light" ]] || cat >>"$dir/broker-$id/server.properties" <<PROPERTIES
num.network.threads=1
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
PROPERTIES
  done
  echo "$cluster" >"$dir/cluster"
  java_options >"$dir/java-options"
  echo "${bootstrap%,}" >"$dir/bootstrap"
}

start() {
  local java id pid deadline
  java=$(java_command)
  fetch
  mkdir -p "$dir"
  [[ -f "$dir/bootstrap" ]] || layout
  for properties in "$dir"/broker-*/server.properties; do
    id=$(sed -n 's/^node.id=//p' "$properties")
    pid_of "$id" >/dev/null && continue
    [[ -f "$dir/broker-$id/data/meta.properties" ]] || format "$id"
    rm -f "$dir/broker-$id/server.log"
    # Options are words without blanks.
    # shellcheck disable=SC2046
    nohup "$java" $(cat "$dir/java-options") -cp "$jars/*" \
      "-Dlog4j2.configurationFile=$here/log4j2.properties" "-Dyibiao.kafka.log=$dir/broker-$id/server.log" \
      kafka.Kafka "$properties" >"$dir/broker-$id/server.out" 2>&1 </dev/null 8>&- 9>&- &
    echo $! >"$dir/broker-$id/pid"
  done
  deadline=$((SECONDS + ready_within_s))
  for properties in "$dir"/broker-*/server.properties; do
    id=$(sed -n 's/^node.id=//p' "$properties")
    until grep -q "Kafka Server started" "$dir/broker-$id/server.log" 2>/dev/null; do
      pid=$(cat "$dir/broker-$id/pid")
      # Not by what it was started as: for a moment it is not that yet.
      kill -0 "$pid" 2>/dev/null || fail "broker $id ended while starting: see $dir/broker-$id/server.log and server.out"
      ((SECONDS < deadline)) || fail "broker $id (process $pid) was not ready within ${ready_within_s} s: see $dir/broker-$id/server.log"
      sleep 0.2
    done
  done
  cat "$dir/bootstrap"
}

stop() {
  local id pid deadline running
  deadline=$((SECONDS + 30))
  [[ -d "$dir" ]] || fail "$dir is not there: nothing to stop"
  for properties in "$dir"/broker-*/server.properties; do
    id=$(sed -n 's/^node.id=//p' "$properties")
    if pid=$(pid_of "$id"); then kill "-$([[ -n "$force" ]] && echo KILL || echo TERM)" "$pid"; fi
  done
  for properties in "$dir"/broker-*/server.properties; do
    id=$(sed -n 's/^node.id=//p' "$properties")
    while running=$(pid_of "$id"); do
      # A controller that is the last of its quorum may wait for the others for ever.
      if ((SECONDS >= deadline)); then kill -KILL "$running" 2>/dev/null || true; fi
      sleep 0.1
    done
    rm -f "$dir/broker-$id/pid"
  done
}

status() {
  local id down=0
  [[ -f "$dir/bootstrap" ]] || fail "$dir was never started"
  cat "$dir/bootstrap"
  for properties in "$dir"/broker-*/server.properties; do
    id=$(sed -n 's/^node.id=//p' "$properties")
    if pid_of "$id" >/dev/null; then echo "broker $id: running"; else echo "broker $id: down"; down=1; fi
  done
  return "$down"
}

command=${1:-}
[[ $# -gt 0 ]] && shift
dir="" brokers=1 port="" heap=512m light="" force=""
while [[ $# -gt 0 ]]; do
  case $1 in
    --dir) dir=${2:?--dir needs a folder}; shift 2 ;;
    --brokers) brokers=${2:?--brokers needs 1 or 3}; shift 2 ;;
    --port) port=${2:?--port needs a number}; shift 2 ;;
    --heap) heap=${2:?--heap needs a size such as 512m}; shift 2 ;;
    --light) light=yes; shift ;;
    --force) force=yes; shift ;;
    *) fail "unknown option $1: see the head of this script" ;;
  esac
done
[[ "$brokers" == 1 || "$brokers" == 3 ]] || fail "--brokers must be 1 or 3"
case $command in
  fetch) java_command >/dev/null; fetch ;;
  start | stop | status)
    [[ -n "$dir" ]] || fail "--dir is missing"
    [[ "$command" == start ]] && mkdir -p "$dir"
    dir=$(realpath -m "$dir")
    "$command"
    ;;
  *) sed -n '2,13p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2 ;;
esac

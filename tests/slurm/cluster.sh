#!/usr/bin/env bash
# A Slurm for tests, on this machine alone: virtual nodes, munge and a controller on the loopback interface.
#
#   cluster.sh install    the packages (Debian, root)
#   cluster.sh start      writes the configuration in FOLDER and starts the daemons
#   cluster.sh stop       stops the daemons that it started, by their pids
#   cluster.sh restart    stops the controller and starts it again
#   cluster.sh env        the variables that a user of the cluster needs, for eval
#
# FOLDER (needed)  holds everything of the cluster: configuration, state, logs, pids
# PORT=17817       the controller's port; the nodes have those that follow
# NODES=2 CPUS=2 MEMORY=64000 GPUS=1    number of nodes; cores, MB and (false) GPUs of each. They need not be there.
#
# Outside FOLDER there is one file, the link /etc/slurm/slurm.conf: the jobs that Snakemake's plugin starts
# are without SLURM_CONF. "start" refuses if another file is there, "stop" removes the link.
set -euo pipefail
: "${FOLDER:?names the folder of the cluster}" "${PORT:=17817}" "${NODES:=2}" "${CPUS:=2}" "${MEMORY:=64000}" "${GPUS:=1}"
FOLDER=$(realpath -m "$FOLDER")
CONFIGURED=/etc/slurm/slurm.conf
export SLURM_CONF=$FOLDER/slurm.conf

install_packages() {
  apt-get update --quiet=2
  DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
    munge slurm-client slurmctld slurmd
}

write_configuration() {
  mkdir -p "$FOLDER"/{pids,state,devices,bin}
  if [ ! -s "$FOLDER/munge.key" ]; then (umask 077 && head --bytes 1024 /dev/urandom > "$FOLDER/munge.key"); fi
  cat > "$SLURM_CONF" <<END
ClusterName=tests
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$FOLDER/munge.socket
StateSaveLocation=$FOLDER/state
SlurmdSpoolDir=$FOLDER/spool.%n
SlurmctldPidFile=$FOLDER/pids/slurmctld
SlurmdPidFile=$FOLDER/pids/%n
SlurmctldLogFile=$FOLDER/slurmctld.log
SlurmdLogFile=$FOLDER/%n.log
# no cgroups: processes are found by their parents, memory is looked at every second
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0
MpiDefault=none
ReturnToService=1
MinJobAge=300
EnforcePartLimits=ALL
JobRequeue=0
KillWait=2
UnkillableStepTimeout=180
SlurmdTimeout=10
SlurmdParameters=config_overrides
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
  echo "AutoDetect=off" > "$FOLDER/gres.conf"
  local node number
  for number in $(seq "$GPUS"); do
    [ -e "$FOLDER/devices/gpu$number" ] || mknod "$FOLDER/devices/gpu$number" c 1 3 # what /dev/null is
  done
  for number in $(seq "$NODES"); do
    node=n$number
    mkdir -p "$FOLDER/spool.$node"
    echo "NodeName=$node NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((PORT + number)) CPUs=$CPUS" \
      "RealMemory=$MEMORY Gres=gpu:$GPUS State=UNKNOWN" >> "$SLURM_CONF"
    echo "NodeName=$node Name=gpu File=$FOLDER/devices/gpu[1-$GPUS]" >> "$FOLDER/gres.conf"
  done
  # There is no accounting. What the plugin asks sacct for when the controller is away, squeue answers.
  cat > "$FOLDER/bin/sacct" <<'END'
#!/usr/bin/env bash
while [ $# -gt 0 ]; do
  case $1 in
    --name) exec squeue --states=all --noheader --name "$2" --format '%i|%T' ;;
    -j) exec squeue --states=all --noheader --jobs "$2" --format '%N' ;;
  esac
  shift
done
END
  chmod +x "$FOLDER/bin/sacct"
}

running() { # whether the process whose pid is in a file still runs, and has this name; one that nobody waits for is over
  local pid
  pid=$(cat "$1" 2> /dev/null) && [ -n "$pid" ] && [ "$(ps --format comm= --pid "$pid")" = "$2" ]
}

stop_daemon() { # file of the pid, name
  local pid
  if running "$1" "$2"; then
    pid=$(cat "$1")
    kill "$pid"
    for _ in $(seq 100); do running "$1" "$2" || break; sleep 0.1; done
    if running "$1" "$2"; then kill -KILL "$pid"; fi
  fi
  rm -f "$1"
}

wait_until() { # seconds, command
  for _ in $(seq "$1"0); do "${@:2}" > /dev/null 2>&1 && return; sleep 0.1; done
  echo "cluster.sh: not within $1 s: ${*:2}. The logs are in $FOLDER." >&2
  return 1
}

every_node_is_up() {
  [ "$(sinfo --noheader --Node --format '%N %T' | grep -cE ' (idle|mixed|allocated)$')" = "$NODES" ]
}

start() {
  if [ -e "$CONFIGURED" ] && [ "$(readlink "$CONFIGURED")" != "$SLURM_CONF" ]; then
    echo "cluster.sh: $CONFIGURED is there and is not of this cluster. Stop the other one first." >&2
    return 1
  fi
  write_configuration
  ln --symbolic --force --no-dereference "$SLURM_CONF" "$CONFIGURED"
  running "$FOLDER/pids/munged" munged || munged --force --key-file "$FOLDER/munge.key" \
    --socket "$FOLDER/munge.socket" --pid-file "$FOLDER/pids/munged" --log-file "$FOLDER/munged.log" \
    --seed-file "$FOLDER/munge.seed" --num-threads 2
  running "$FOLDER/pids/slurmctld" slurmctld || slurmctld
  local number
  for number in $(seq "$NODES"); do
    running "$FOLDER/pids/n$number" slurmd || slurmd -N "n$number"
  done
  wait_until 30 every_node_is_up
}

stop() {
  local file
  for file in "$FOLDER"/pids/n[0-9]*; do stop_daemon "$file" slurmd; done
  stop_daemon "$FOLDER/pids/slurmctld" slurmctld
  stop_daemon "$FOLDER/pids/munged" munged
  if [ "$(readlink "$CONFIGURED")" = "$SLURM_CONF" ]; then rm "$CONFIGURED"; fi
}

case "${1:-}" in
  install) install_packages ;;
  start) start ;;
  stop) stop ;;
  restart) stop_daemon "$FOLDER/pids/slurmctld" slurmctld && slurmctld ;;
  env) echo "export SLURM_CONF=$SLURM_CONF PATH=$FOLDER/bin:\$PATH" ;;
  *) sed --quiet '2,16s/^# \?//p' "$0" && exit 2 ;;
esac

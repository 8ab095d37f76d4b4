"""A real single-node Slurm in one folder: munge, MariaDB, slurmdbd, slurmctld, slurmd. /etc is untouched."""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
from cluster.parts import SYSTEM_PATH, Daemon, end, free_port, wait_until
from cluster.sshd import Sshd

CONFIG = """\
ClusterName={cluster}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmdPort={d_port}
AuthType=auth/munge
# A requeued job may start again once its old credential has expired.
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
ReturnToService=2
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
MinJobAge=300
MaxArraySize=10001
MaxJobCount=20000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=16000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
# Its jobs make way for those of the other one, and start again later.
PartitionName=low Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""

WITH_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge/socket
AccountingStoreFlags=job_comment,job_script
"""

WITHOUT_ACCOUNTING = "AccountingStorageType=accounting_storage/none\n"

DBD_CONFIG = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd_port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
PidFile={folder}/slurmdbd.pid
"""

DATABASE = """\
create database slurm_acct;
create user slurm@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct.* to slurm@'127.0.0.1';
"""


class Slurm:
    """`env` is for runs on this machine; logins of `sshd` get it too. `daemons`, by name, are for faults."""

    partition = "main"

    def __init__(
        self,
        folder: Path,
        sshd: Sshd,
        *,
        accounting: bool = True,
        cluster: str = "testbed",
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """`settings`: lines of slurm.conf that are to be otherwise (MaxJobId, MinJobAge, ...)."""
        self.folder, self.sshd, self.accounting, self.cluster = folder, sshd, accounting, cluster
        self.settings = dict(settings or {})
        self.conf = folder / "slurm.conf"
        self.env = {"SLURM_CONF": str(self.conf), "PATH": SYSTEM_PATH}
        self.daemons: dict[str, Daemon] = {}
        self._ports = {name: free_port() for name in ("ctld_port", "d_port", "dbd_port", "db_port")}

    def start(self) -> None:
        for name in ("munge", "mysql", "state", "spool"):
            (self.folder / name).mkdir(parents=True)
        text = self._fill(CONFIG + (WITH_ACCOUNTING if self.accounting else WITHOUT_ACCOUNTING))
        kept = [line for line in text.splitlines() if line.partition("=")[0] not in self.settings]
        self.conf.write_text("\n".join([*kept, *(f"{n}={v}" for n, v in self.settings.items()), ""]))
        self._start_munge()
        if self.accounting:
            self._start_mariadb()
            self._start_slurmdbd()
        controller = self._daemon("slurmctld", "-D")
        controller.wait_until(lambda: self.works("scontrol", "ping"))
        self._daemon("slurmd", "-D").wait_until(lambda: self.run("sinfo", "-h", "-t", "idle").strip())
        if self.accounting:
            self.run("sacctmgr", "-i", "-Q", "add", "account", "lab", f"cluster={self.cluster}")
            self.run("sacctmgr", "-i", "-Q", "add", "user", self.sshd.user, "account=lab")
        self.sshd.set_environment(SLURM_CONF=str(self.conf))

    def run(self, *command: str, data: str = "") -> str:
        """A Slurm command on this machine, as root: its standard output."""
        return subprocess.run(
            command, input=data, capture_output=True, text=True, timeout=30, check=True, env=self.env
        ).stdout

    def works(self, *command: str) -> bool:
        return (
            subprocess.run(command, capture_output=True, timeout=30, env=self.env, check=False).returncode
            == 0
        )

    def stop(self) -> None:
        if "slurmctld" in self.daemons and self.daemons["slurmctld"].process.poll() is None:
            self.daemons["slurmctld"].thaw()
            self.works("scancel", "--user", self.sshd.user)
            self.works("scancel", "--user", "root")
        for name in ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged"):
            if name in self.daemons:
                self.daemons[name].stop()
        # Job steps are not slurmd's children; they carry its configuration in their environment.
        end([process for process in psutil.process_iter() if self._is_ours(process)])

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        key = folder / "key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        shutil.chown(folder, "munge", "munge")
        shutil.chown(key, "munge", "munge")
        names = {
            "key-file": "key",
            "socket": "socket",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={folder / name}" for option, name in names.items()]
        self._daemon("munged", "--foreground", *options, user="munge").wait_until((folder / "socket").exists)

    def _start_mariadb(self) -> None:
        folder, log = self.folder / "mysql", self.folder / "mariadb-install.log"
        shutil.chown(folder, "mysql", "mysql")
        with log.open("wb") as output:
            subprocess.run(
                [
                    "mariadb-install-db",
                    "--no-defaults",
                    "--user=mysql",
                    f"--datadir={folder}",
                    "--skip-test-db",
                ],
                stdout=output,
                stderr=output,
                check=True,
                timeout=120,
                env=self.env,
            )
        client = ["--no-defaults", f"--socket={folder}/sock"]
        self._daemon(
            "mariadbd",
            *client,
            f"--datadir={folder}",
            f"--pid-file={folder}/pid",
            "--bind-address=127.0.0.1",
            f"--port={self._ports['db_port']}",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=2",
            user="mysql",
        ).wait_until(lambda: self.works("mariadb-admin", *client, "ping"), 60)
        self.run("mariadb", *client, data=DATABASE)

    def _start_slurmdbd(self) -> None:
        conf = self.folder / "slurmdbd.conf"  # slurmdbd reads the one beside slurm.conf
        conf.write_text(self._fill(DBD_CONFIG))
        conf.chmod(0o600)
        self._daemon("slurmdbd", "-D").wait_until(lambda: self.works("sacctmgr", "-n", "list", "cluster"), 30)
        # It must know the cluster before slurmctld starts.
        self.run("sacctmgr", "-i", "-Q", "add", "cluster", self.cluster)

    def _daemon(self, name: str, *arguments: str, user: str | None = None) -> Daemon:
        path = shutil.which(name, path=SYSTEM_PATH) or name
        log = self.folder / f"{name}.log"
        self.daemons[name] = Daemon(path, *arguments, log=log, user=user, env=self.env)
        return self.daemons[name]

    def _fill(self, text: str) -> str:
        host = socket.gethostname().partition(".")[0]
        return text.format(folder=self.folder, host=host, cluster=self.cluster, **self._ports)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("SLURM_CONF") == str(self.conf)
        except psutil.Error:
            return False


def ended(slurm: Slurm, job_id: str, seconds: float = 30.0) -> str:
    """Waits until accounting knows how the job ended, and says its state."""

    def state() -> str:
        return slurm.run("sacct", "-n", "-X", "-P", "-j", job_id, "-o", "State").strip()

    wait_until(
        lambda: state() not in ("", "PENDING", "RUNNING", "COMPLETING"), f"the end of job {job_id}", seconds
    )
    return state()

"""The real parts are real, and leave nothing behind."""

from pathlib import Path

from cluster.slurm import Slurm, ended
from cluster.sshd import Sshd


def test_a_job_submitted_over_ssh_is_completed_in_accounting(sshd: Sshd, slurm: Slurm) -> None:
    submitted = sshd.ssh("sbatch --parsable --output=none.out --wrap 'echo ran > proof'")
    assert submitted.returncode == 0, submitted.stderr
    assert ended(slurm, submitted.stdout.strip()) == "COMPLETED"
    assert (sshd.home / "proof").read_text() == "ran\n"


def test_a_cluster_without_accounting_runs_jobs_and_says_that_it_has_none(
    slurm_without_accounting: Slurm,
) -> None:
    own = slurm_without_accounting.sshd
    job = own.ssh("sbatch --parsable --output=/dev/null --wrap 'echo ran > proof; sleep 60'").stdout.strip()
    assert job in own.ssh("squeue -h -o %i").stdout.split()
    assert own.ssh(f"scancel {job}").returncode == 0
    assert own.ssh(f"sacct -n -j {job}").returncode != 0


def test_sshd_counts_connections_and_commands(sshd: Sshd) -> None:
    with sshd.counting() as counted:
        assert sshd.ssh("id -un").stdout.strip() == sshd.user
        assert sshd.ssh("true").returncode == 0
    assert (counted.connections, counted.execs) == (2, 2)


def test_an_account_has_the_login_shell_that_was_asked_for(sshd: Sshd) -> None:
    account = sshd.account("/bin/sh")
    assert sshd.ssh("echo $0 $HOME", account.user).stdout.split() == ["sh", str(account.home)]


def test_the_browser_runs_script(chromium: object, home: Path) -> None:
    page = chromium.new_page()  # type: ignore[attr-defined]
    page.set_content("<p></p><script>document.querySelector('p').textContent = 6 * 7</script>")
    assert page.inner_text("p") == "42"
    page.close()
    assert list(home.iterdir()) == []

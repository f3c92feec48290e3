"""What each platform has to be told beyond the groups of machines: one frozen dataclass per section of a profile.

No field holds a secret. Credentials come from the machines' own identity (AWS instance profile, GCP or Kubernetes
service account), from Kubernetes Secrets, or from files that only their owner reads; a profile names them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mouse_facelift.errors import InputError


@dataclass(frozen=True, kw_only=True)
class MachineTypes:
    """A cloud's names for the three kinds of machines, such as `c7i.4xlarge` or `n2-standard-16`."""

    head: str
    decode: str
    train: str


@dataclass(frozen=True, kw_only=True)
class AwsConfig:
    """`ray up` on Amazon EC2.

    Raises:
        InputError: no security group: Ray would then make one that lets the whole internet reach port 22.
    """

    region: str
    zones: tuple[str, ...]
    """Availability zones that machines may be started in."""
    machines: MachineTypes
    security_group_ids: tuple[str, ...]
    """Groups that let the cluster's machines reach each other, and nobody else but you on port 22."""
    subnet_ids: tuple[str, ...] = ()
    """Subnets of the machines; empty for the default VPC's."""
    instance_profile: str
    """IAM instance profile of all machines: it reads and writes the storage, and starts machines from the head."""
    ami: str = "latest_dlami"
    """Machine image with Docker and NVIDIA's driver; `latest_dlami` is Ray's choice of AWS's for the region."""
    disk_gib: int = 200
    """Root disk (GiB), encrypted; the container image and spilled objects live there."""
    internal_ips: bool = True
    """Reach machines by private addresses (VPN or bastion); false where `ray up` runs outside the VPC."""
    spot_decode: bool = True
    """Decode on spot machines: `preprocess` goes on where a machine was taken away."""
    ssh_user: str = "ubuntu"

    def __post_init__(self) -> None:
        if not self.security_group_ids:
            raise InputError(
                "aws.security_group_ids is empty, and Ray would open port 22 to the internet; "
                "make a group as cluster/README.md shows and name it"
            )


@dataclass(frozen=True, kw_only=True)
class GcpConfig:
    """`ray up` on Google Compute Engine."""

    project: str
    region: str
    zone: str
    machines: MachineTypes
    source_image: str
    """Boot image with Docker and NVIDIA's driver, `projects/.../global/images/family/...`."""
    service_account: str
    """E-mail of the account the machines act as; it reads and writes the storage and starts machines."""
    accelerator: str = ""
    """Accelerator type of `train` where the machine type does not imply one, such as `nvidia-tesla-t4`."""
    subnetwork: str = ""
    """`projects/.../regions/.../subnetworks/...`; needed for machines without public addresses."""
    disk_gib: int = 200
    internal_ips: bool = True
    """No public addresses (needs `subnetwork` and Cloud NAT); false where `ray up` runs outside the network."""
    spot_decode: bool = True
    ssh_user: str = "ubuntu"

    def __post_init__(self) -> None:
        if self.internal_ips and not self.subnetwork:
            raise InputError("gcp.internal_ips needs gcp.subnetwork; name it, or say internal_ips: false")


@dataclass(frozen=True, kw_only=True)
class OnPremiseConfig:
    """`ray up` on machines that are already there and reachable by SSH."""

    head_ip: str
    decode_ips: tuple[str, ...] = ()
    train_ips: tuple[str, ...] = ()
    ssh_user: str
    ssh_private_key: str = "~/.ssh/id_ed25519"
    """Path of the key on the machine that runs `ray up`."""

    def __post_init__(self) -> None:
        addresses = (self.head_ip, *self.decode_ips, *self.train_ips)
        twice = {address for address in addresses if addresses.count(address) > 1}
        if twice:
            raise InputError(f"on_premise: {sorted(twice)[0]} has two roles; list every machine once")


@dataclass(frozen=True, kw_only=True)
class KubeRayConfig:
    """RayCluster and RayJob for the KubeRay operator, v1.7."""

    namespace: str = "default"
    redis_address: str = ""
    """`redis:6379`: where the head keeps its state so that a new one takes over; empty for no such protection."""
    redis_secret: str = "mouse-facelift-redis"
    """Kubernetes Secret with Redis's password under the key `password`."""
    environment_secret: str = "mouse-facelift-environment"
    """Kubernetes Secret whose keys are the names in the profile's `environment`."""
    shared_claim: str = ""
    """PersistentVolumeClaim (ReadWriteMany) with the recordings, mounted at `shared_folder`."""
    service_account: str = ""
    """Service account of the pods, for storage by workload identity; it must exist."""
    prometheus_namespace: str = "monitoring"
    """Namespace that may scrape port 8080; empty for none."""
    decode_selector: dict[str, str] = field(default_factory=dict)
    """Node labels that decode pods need."""
    train_selector: dict[str, str] = field(default_factory=dict)
    """Node labels that train pods need, such as `nvidia.com/gpu.present: "true"`."""
    deadline_hours: int = 72
    """A RayJob is ended after this time."""
    keep_failed_minutes: int = 60
    """A failed job's cluster is kept this long, for its logs."""


@dataclass(frozen=True, kw_only=True)
class SlurmConfig:
    """One batch job that is a Ray cluster of its own, on nodes it shares with nobody."""

    decode_partition: str = ""
    train_partition: str = ""
    """Partitions; empty for the site's default."""
    account: str = ""
    time_limit: str = "24:00:00"
    """Days-hours:minutes:seconds, as `sbatch --time`."""
    modules: tuple[str, ...] = ()
    """Environment modules to load first."""
    venv: str = ""
    """Virtual environment with the packages, on storage that all nodes mount; empty for the submitting shell's."""
    wait_s: int = 600
    """How long to wait for all nodes to join (s)."""

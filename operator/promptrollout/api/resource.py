"""The resources as a whole, and what the API server must know of them beyond their fields."""

from dataclasses import dataclass

from pydantic import ConfigDict, Field

from promptrollout.api.base import GROUP, PLURAL, VERSION, ApiModel, Moment
from promptrollout.api.cel import Rule, rules
from promptrollout.api.policy import POLICY_PLURALS, ClusterPromptRolloutPolicy, PromptRolloutPolicy
from promptrollout.api.spec import PolicyKind, RolloutSpec
from promptrollout.api.status import RolloutStatus

API_VERSION = f"{GROUP}/{VERSION}"
KIND = "PromptRollout"

#: As for CronJob: `<name>-<10 digits>` must still be a Job's name and a label's value (63).
MAX_NAME = 52


class ObjectMeta(ApiModel):
    """What the operator uses of an object's metadata."""

    name: str = Field(description="The rollout's name.")
    namespace: str = Field(default="", description="Its namespace.")
    uid: str = Field(default="", description="Its uid.")
    generation: int = Field(default=0, description="Counts changes of the spec.")
    resource_version: str = Field(default="", description="Changes with each write.")
    labels: dict[str, str] = Field(default_factory=dict, description="Its labels.")
    annotations: dict[str, str] = Field(default_factory=dict, description="Its annotations.")
    creation_timestamp: Moment | None = Field(default=None, description="When it was created.")
    deletion_timestamp: Moment | None = Field(default=None, description="When it was asked to go.")


_CONFIG_MAP = (
    "(has({0}.spec.delivery) && has({0}.spec.delivery.configMapName) "
    "? {0}.spec.delivery.configMapName : {0}.metadata.name + '-prompt')"
)


class PromptRollout(ApiModel):
    """A prompt rolled out with care: delivered beside the old one, stepped up, compared, promoted or rolled back."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                f"self.metadata.name.size() <= {MAX_NAME}",
                f"the name may have at most {MAX_NAME} characters, so that the names of what belongs to it fit",
                ".metadata.name",
            ),
            Rule(
                f"{_CONFIG_MAP.format('self')} == {_CONFIG_MAP.format('oldSelf')}",
                "configMapName cannot change: pods mount that ConfigMap; create another PromptRollout instead",
                ".spec.delivery.configMapName",
            ),
        )
    )

    api_version: str = Field(default=API_VERSION, description="The API's group and version.")
    kind: str = Field(default=KIND, description="PromptRollout.")
    metadata: ObjectMeta = Field(description="Name, namespace, labels and so on.")
    spec: RolloutSpec = Field(description="The wanted prompt, and how it takes over.")
    status: RolloutStatus | None = Field(
        default=None, description="What the operator knows and remembers of the rollout. Written by it alone."
    )

    def config_map_name(self) -> str:
        """The ConfigMap that pods mount."""
        return self.spec.delivery.config_map_name or f"{self.metadata.name}-prompt"


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of `kubectl get`; priority 1 is shown with `-o wide` only."""

    name: str
    json_path: str
    description: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource and its facts."""

    model: type[ApiModel]
    kind: str
    plural: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    columns: tuple[PrinterColumn, ...]
    selectable: tuple[str, ...] = ()
    scope: str = "Namespaced"

    @property
    def name(self) -> str:
        """The CRD's name."""
        return f"{self.plural}.{GROUP}"


PROMPT_ROLLOUT = Resource(
    model=PromptRollout,
    kind=KIND,
    plural=PLURAL,
    short_names=("prollout",),
    categories=("all", "prompts"),
    columns=(
        PrinterColumn("Phase", ".status.phase", "Where the rollout is."),
        PrinterColumn("Step", ".status.step", "The step of the strategy, as 3/5."),
        PrinterColumn("Weight", ".status.weight", "The candidate's share."),
        PrinterColumn("Verdict", ".status.verdict", "What the comparison says."),
        PrinterColumn("Age", ".metadata.creationTimestamp", "How old the object is.", type="date"),
        PrinterColumn("Stable", ".status.stableRevision", "The revision that has proven itself.", priority=1),
        PrinterColumn("Candidate", ".status.candidateRevision", "The revision on trial.", priority=1),
        PrinterColumn("Policy", ".status.policy.name", "The policy whose rules are in force.", priority=1),
        PrinterColumn("Message", ".status.message", "What it waits for, and until when.", priority=1),
    ),
    selectable=(".status.phase",),
)
_POLICY_COLUMNS = (
    PrinterColumn("Locked", ".spec.locked", "What rollouts may not set differently."),
    PrinterColumn("Deadline", ".spec.progressDeadline", "The longest a rollout may take.", priority=1),
    PrinterColumn("Age", ".metadata.creationTimestamp", "How old the object is.", type="date"),
)
POLICY = Resource(
    model=PromptRolloutPolicy,
    kind=PolicyKind.NAMESPACED.value,
    plural=POLICY_PLURALS[PolicyKind.NAMESPACED],
    short_names=("prolloutpolicy",),
    categories=("prompts",),
    columns=_POLICY_COLUMNS,
)
CLUSTER_POLICY = Resource(
    model=ClusterPromptRolloutPolicy,
    kind=PolicyKind.CLUSTER.value,
    plural=POLICY_PLURALS[PolicyKind.CLUSTER],
    short_names=("cprolloutpolicy",),
    categories=("prompts",),
    columns=_POLICY_COLUMNS,
    scope="Cluster",
)

#: Everything that has a file in crds/.
RESOURCES = (PROMPT_ROLLOUT, POLICY, CLUSTER_POLICY)

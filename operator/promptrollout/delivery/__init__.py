"""From a decision to the ConfigMap that pods read: assignment, payload, flagd file. Pure."""

from promptrollout.delivery.assignment import WHOLE, arm_of, bucket_of, cluster_of, ranges
from promptrollout.delivery.flagd import flagd_json
from promptrollout.delivery.payload import (
    FLAGD_FILE,
    MAX_BYTES,
    REVISION_FILE,
    ROLLOUT_FILE,
    SCHEMA,
    ArmWeight,
    Payload,
    PayloadError,
    PayloadTooLargeError,
    PinnedRevision,
    Shadow,
    parse,
    render,
    revision_config_map,
    revision_file,
    seal_payload,
)

__all__ = [
    "FLAGD_FILE",
    "MAX_BYTES",
    "REVISION_FILE",
    "ROLLOUT_FILE",
    "SCHEMA",
    "WHOLE",
    "ArmWeight",
    "Payload",
    "PayloadError",
    "PayloadTooLargeError",
    "PinnedRevision",
    "Shadow",
    "arm_of",
    "bucket_of",
    "cluster_of",
    "flagd_json",
    "parse",
    "ranges",
    "render",
    "revision_config_map",
    "revision_file",
    "seal_payload",
]

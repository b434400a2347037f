"""The active bundle as an OPA server pulls it (openpolicyagent.org, Bundles): a reproducible tar.gz of the voted bytes."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import rfc8785

from workflows.kinds import RuleEngine
from workflows.policy_enforcement.bundle import Bundle
from workflows.policy_enforcement.engines.rego import ENTRYPOINT, ENTRYPOINT_PATH, data_of, path_of

ROOTS = ("acgs", "policies", "facts", "index", "elsewhere")


def archive(bundle: Bundle) -> bytes:
    """A tar.gz that is the same bytes for the same bundle. Rules in Datalog are not in it: what they are about is denied."""
    rego = [rule for rule in bundle.manifest.rules if rule.engine == RuleEngine.REGO]
    others = [rule for rule in bundle.manifest.rules if rule.engine != RuleEngine.REGO]
    manifest = {"revision": bundle.revision, "roots": list(ROOTS), "rego_version": 1}
    data = data_of(
        {rule.declared.name: rule.declared.actions for rule in rego},
        bundle.facts,
        [action for rule in others for action in rule.declared.actions],
    )
    files = {
        ".manifest": json.dumps(manifest, sort_keys=True).encode(),
        ENTRYPOINT_PATH: ENTRYPOINT.encode(),
        "data.json": rfc8785.dumps(data),
    }
    files |= {path_of(rule.declared.name): bundle.sources[rule.policy].encode() for rule in rego}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, body in sorted(files.items()):
            item = tarfile.TarInfo("/" + name)  # as `opa build` names them
            item.size, item.mode = len(body), 0o644
            tar.addfile(item, io.BytesIO(body))
    return gzip.compress(packed.getvalue(), mtime=0)

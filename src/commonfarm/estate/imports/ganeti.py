"""An estate out of the text data of Ganeti's htools.

What a node keeps for itself is all that it has, less what is free and what its instances use: the
`n_mem` and `x_mem` of `hbal -p`. Here a stopped instance keeps its room; htools gives that away.
"""

from __future__ import annotations

from fractions import Fraction

from commonfarm.estate.imports.draft import Draft, Names, Thing, finished, machine, title, written
from commonfarm.estate.imports.ganeti_text import Cluster, Machine, Node, Policy, cluster
from commonfarm.lib.terminal import harmless

SPINDLES = "CUSTOM_SPINDLES"
REPLICA = "replica"
STANDARD = "ganeti-standard"
MOST_RATIO = 100
_SHOWN = 20


def read(file: str, data: bytes) -> Draft:
    """Return the estate of a cluster; raise BadInputError where this is none.

    Nodes become hosts with their group as rack, instances services with one virtual machine; the
    mirrored disk of one with a secondary node is a component of its own, on another host.
    """
    found = cluster(file, data)
    draft = Draft(f"the Ganeti data {file}")
    hosts = Names("host", draft.lost)
    services = Names("service", draft.lost)
    racks = Names("rack", draft.lost)
    sizes = Names("size", draft.lost)
    for owner, policy in sorted(found.policies.items()):
        standard = sizes[f"{STANDARD}-{owner}" if owner else STANDARD]
        amounts = _amounts(policy.memory, policy.cores, policy.disk, policy.spindles)
        source = f"{file}, the standard of {harmless(owner)[:80] or 'the cluster'}"
        draft.sizes.append({"name": standard, **amounts, "source": source})
    on: dict[str, list[Machine]] = {node.name: [] for node in found.nodes}
    for one in found.machines:
        for node_name in filter(None, (one.primary, one.secondary)):
            on[node_name].append(one)
    online: dict[str, str] = {}
    for node in found.nodes:
        if node.offline:
            draft.lost.append(f"node {harmless(node.name)[:80]}: it is offline")
            continue
        name = online[node.name] = hosts[node.name]
        rack = racks[found.groups[node.group].name]
        made = {"name": name, "rack": rack} | _host(draft, found.policy(node), node, on[node.name])
        made["source"] = f"{file}, node {harmless(node.name)[:80]}"
        draft.hosts.append(made)
    for one in found.machines:
        draft.services.append(_service(draft, one, services[one.name], online, file))
    draft.policy.update(survive=["host"], source="Ganeti keeps N+1")
    _say_what_is_lost(draft, found)
    return finished(draft)


def _amounts(memory: int, cores: int, disk: int, spindles: int) -> Thing:
    return {
        "cores": cores,
        "memory": written("memory", str(memory), "MiB"),
        "disk": written("disk", str(disk), "MiB"),
        SPINDLES: spindles,
    }


def _host(draft: Draft, policy: Policy, node: Node, here: list[Machine]) -> Thing:
    """Return what a node has, and keeps for itself, with these instances on it."""
    used = sum(one.memory for one in here if one.primary == node.name and not one.stopped)
    memory = node.memory - node.free_memory - used
    disk = node.disk - node.free_disk - sum(one.local_disk for one in here)
    for what, amount in (("memory", memory), ("disk", disk)):
        if amount < 0:
            said = f"its {what} in use, which is {-amount} MiB less than its instances have"
            draft.lost.append(f"node {harmless(node.name)[:80]}: {said}")
    # Its own system's virtual cores, as real ones; rounded down, since 1/3 of one core has no
    # number of thousandths, and an instance has whole cores.
    own = min(Fraction(1000 * node.vcpus) / policy.vcpu_ratio // 1, 1000 * node.cores)
    made = _amounts(node.memory, node.cores, node.disk, node.spindles)
    made["virtualisation"] = True
    reserved = {
        "cores": f"{own}m" if own else 0,
        "memory": written("memory", str(max(memory, 0)), "MiB"),
        "disk": written("disk", str(max(disk, 0)), "MiB"),
    }
    made["reserved"] = {key: text for key, text in reserved.items() if text not in (0, "0 B")}
    ratios = (("cores", policy.vcpu_ratio), (SPINDLES, policy.spindle_ratio))
    made["allocation_ratio"] = {
        key: int(one) if one.denominator == 1 else float(one)
        for key, one in ((key, min(one, Fraction(MOST_RATIO))) for key, one in ratios)
    }
    return {key: value for key, value in made.items() if value != {}}


def _service(draft: Draft, one: Machine, name: str, online: dict[str, str], file: str) -> Thing:
    """Return an instance as a service on the hosts that its nodes became."""
    for node in (one.primary, one.secondary):
        if node and node not in online:
            draft.lost.append(f"{harmless(one.name)[:80]}: that it is on {node}, which is offline")
    made = machine(
        name,
        **title(one.name, name),
        environment="production",
        requires=_amounts(one.memory, one.cores, one.local_disk, one.spindles),
        on=online.get(one.primary),
        source=f"{file}, instance {harmless(one.name)[:80]}",
    )
    if one.secondary:
        requires = {key: made["components"][0]["requires"][key] for key in ("disk", SPINDLES)}
        mirror: Thing = {"name": REPLICA, "requires": requires}
        if one.secondary in online:
            mirror["instances"] = [{"on": [online[one.secondary]]}]
        made["components"].append(mirror)
        made["spread"] = [{"over": "host", "at_most": 1}]
    return made


def _say_what_is_lost(draft: Draft, found: Cluster) -> None:
    """Say what the file tells and the estate has no place for."""
    lost = draft.lost
    for group in found.groups.values():
        if group.kind != "preferred":
            lost.append(
                f"group {harmless(group.name)[:80]}: that it is {harmless(group.kind)[:40]}"
            )
    mirrored = [one.name for one in found.machines if one.secondary]
    if mirrored and len(found.groups) > 1:
        lost.append("that both nodes of an instance are of one group")
    for node in found.nodes:
        if node.exclusive and not node.offline:
            lost.append(f"node {harmless(node.name)[:80]}: that a disk belongs to one instance")
    for tag in found.tags[:_SHOWN]:
        lost.append(f"tag {harmless(tag)[:80]}")
    if len(found.tags) > _SHOWN:
        lost.append(f"{len(found.tags) - _SHOWN} more tags")
    for group in found.groups.values():
        if group.name not in found.policies:
            what = "has no policy; Ganeti's own ratios of 4 and 32 are taken"
            lost.append(f"group {harmless(group.name)[:80]}: it {what}")
    for owner, policy in found.policies.items():
        if max(policy.vcpu_ratio, policy.spindle_ratio) > MOST_RATIO:
            lost.append(f"policy {harmless(owner)[:80]}: a ratio above {MOST_RATIO}")

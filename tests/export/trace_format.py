"""What the Trace Event Format asks of a file, checked event by event."""

from collections import Counter, defaultdict

NUMBER = (int, float)
REQUIRED = {
    "X": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "dur": NUMBER},
    "b": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id2": dict},
    "e": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id2": dict},
    "s": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id": int},
    "f": {"name": str, "cat": str, "pid": int, "tid": int, "ts": NUMBER, "id": int, "bp": str},
    "C": {"name": str, "pid": int, "ts": NUMBER, "args": dict},
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
}


def find_faults(events):
    """Return what is wrong with the events of a file, which is nothing in a valid one."""
    faults = [f"{key} of {event}" for event in events for key in find_wrong_keys(event)]
    if faults:
        return faults
    return [*find_misnested(events), *find_unpaired(events), *find_loose_arrows(events)]


def find_wrong_keys(event):
    required = REQUIRED.get(event.get("ph"))
    if required is None:
        return ["ph"]
    wrong = [key for key, kind in required.items() if not isinstance(event.get(key), kind)]
    wrong += [key for key in ("ts", "dur") if event.get(key, 0) < 0]
    if event["ph"] == "C":
        wrong += [key for key, value in event["args"].items() if not isinstance(value, NUMBER)]
    return wrong


def in_ns(microseconds):
    return round(microseconds * 1000)


def span_of(event):
    return in_ns(event["ts"]), in_ns(event["ts"]) + in_ns(event["dur"])


def slices_by_track(events):
    tracks = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append(event)
    return tracks


def find_misnested(events):
    """Yield slices that overlap another of their track without lying within it."""
    for slices in slices_by_track(events).values():
        ends = []
        for event in sorted(slices, key=lambda one: (span_of(one)[0], -span_of(one)[1])):
            began, ended = span_of(event)
            while ends and ends[-1] <= began:
                ends.pop()
            if ends and ended > ends[-1]:
                yield f"overlaps another: {event}"
            ends.append(ended)


def find_unpaired(events):
    """Yield spans that do not begin once and end once, in this order."""
    spans = defaultdict(list)
    for event in events:
        if event["ph"] in "be":
            key = event["pid"], event["cat"], event["name"], event["id2"]["local"]
            spans[key].append((event["ph"], event["ts"]))
    for key, found in spans.items():
        phases, moments = zip(*found, strict=True)
        if phases != ("b", "e") or moments[0] > moments[1]:
            yield f"{key}: {found}"


def find_loose_arrows(events):
    """Yield arrows whose ends are not one in a slice each, or that go back in time."""
    tracks = slices_by_track(events)
    arrows = defaultdict(dict)
    for event in events:
        if event["ph"] in "sf":
            arrows[event["id"]][event["ph"]] = event
    counts = Counter(event["id"] for event in events if event["ph"] in "sf")
    for number, ends in arrows.items():
        if set(ends) != {"s", "f"} or counts[number] != 2:
            yield f"arrow {number}: {ends}"
            continue
        if ends["s"]["ts"] > ends["f"]["ts"]:
            yield f"arrow {number} goes back"
        for end in ends.values():
            own, at = tracks[end["pid"], end["tid"]], in_ns(end["ts"])
            spans = [span_of(one) for one in own if one["cat"] == "service"]
            if not any(began <= at <= ended for began, ended in spans):
                yield f"arrow {number} begins or ends beside all slices: {end}"

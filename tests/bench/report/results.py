"""What the runner measured, and what a harness with other peers did: values, and ratios net of the empty loop.

A run is sections[section][test][subject][metric], with the role of each subject: null, peer, granule (candidate in a
harness) or limit.
"""

# Times that contain the loop around the operation: what the empty loop takes is subtracted before ratios are made.
NET = {"pair_ns", "op_ns", "find_ns", "ns", "bind_ns", "evict_ns", "batch_ns"}


class Run:
    def __init__(self, sections, roles):
        self.sections = sections
        self.roles = roles

    def tests(self, section):
        return self.sections.get(section, {})

    def subject(self, section, test, wanted):
        """The name of the subject that `wanted` says: a role, or a predicate of names."""
        for who in self.tests(section).get(test, {}):
            if wanted(who) if callable(wanted) else self.roles.get(who) in wanted:
                return who
        return None

    def value(self, section, test, wanted, metric):
        who = self.subject(section, test, wanted)
        return None if who is None else self.tests(section)[test][who].get(metric)

    def net(self, section, test, wanted, metric):
        """The value less the empty loop's; never below a hundredth of a nanosecond."""
        value = self.value(section, test, wanted, metric)
        if value is None or metric not in NET:
            return value
        empty = self.value(section, test, NULL, metric) or 0
        return max(value - empty, 0.01)

    def ours(self, section, test, metric):
        return self.net(section, test, OURS, metric)


NULL = ("null",)
OURS = ("granule", "candidate")


def named(*parts):
    """A predicate: a subject whose name has all of these in it."""
    return lambda who: all(part in who for part in parts)


def exactly(name):
    return lambda who: who == name


def quotient(above, below):
    return None if above is None or below is None or below <= 0 else above / below

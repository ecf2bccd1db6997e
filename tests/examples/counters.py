"""What a registry has counted."""


def counted(registry, name, **labels):
    """The sum of the SDK's series of that name that have these labels."""
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"promptrollout_{name}" and labels.items() <= sample.labels.items()
    )

"""The capacity planner: from a load to storage, memory, machines and cost, every number with its formula."""

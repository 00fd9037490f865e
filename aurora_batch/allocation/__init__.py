"""Allocation of pool capacity and tenant budgets over a batch of requests."""

"""The best recipe under a budget: a layer scan's options chosen by a knapsack, then measured and refined."""

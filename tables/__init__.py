"""The paper's two tables."""

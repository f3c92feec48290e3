"""How good a reconstruction is, always beside what no reconstruction at all would score."""

"""Packets that no sender in his right mind would make, through lo of the model."""

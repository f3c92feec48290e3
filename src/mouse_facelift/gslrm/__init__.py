"""GS-LRM: the model that turns posed images into 3-D Gaussians, its losses and one step of its training."""

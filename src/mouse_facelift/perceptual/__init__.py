"""How different two pictures look: distances between the features of networks trained to recognise things.

`vgg` is the network, `distances` the two measures on it (FaceLift's VGG-19 loss and LPIPS), `weights` reads their
files. No weights come with the project and none are ever downloaded: a user names the files.
"""

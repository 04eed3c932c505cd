"""What a generator.h5 needs on new images: normalisation, tiles, files, volumes, trust."""

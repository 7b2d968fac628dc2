"""Pure functions of arrays: convolution, resampling, warping, patches, pixel shuffle. Images are float32, NHWC."""

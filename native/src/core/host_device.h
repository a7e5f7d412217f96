// Functions that kernels share with the host.
#pragma once

#ifdef __CUDACC__
#define ML_HOST_DEVICE __host__ __device__
#else
#define ML_HOST_DEVICE
#endif

// More values alive at once than 24 registers hold.
__global__ void spill(float *x) {
    float v[32];
    for (int i = 0; i < 32; i++) v[i] = x[i * 32 + threadIdx.x];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 32; i++) v[i] = v[i] * v[(i + 7) % 32] + v[(i + 13) % 32];
    }
    for (int i = 0; i < 32; i++) x[i * 32 + threadIdx.x] = v[i];
}

package io.metalora.train;

import io.metalora.runtime.CudaDevice;
import io.metalora.runtime.DType;
import org.junit.jupiter.api.Tag;

/** The same iterations on CUDA, in F32. */
@Tag("cuda")
class MetaLoraParityCudaTest extends MetaLoraParityTest {
    @Override
    TinyLlama llama() {
        return new TinyLlama(CudaDevice.open(DType.F32));
    }
}

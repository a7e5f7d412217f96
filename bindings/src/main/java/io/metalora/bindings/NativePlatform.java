package io.metalora.bindings;

import java.util.Locale;

/** Operating system and processor as the build names its resource folders, {@code linux-x86_64}. */
record NativePlatform(String system, String machine) {

    static NativePlatform current() {
        return of(System.getProperty("os.name"), System.getProperty("os.arch"));
    }

    static NativePlatform of(String osName, String osArch) {
        String arch = osArch.toLowerCase(Locale.ROOT);
        return new NativePlatform(osName.toLowerCase(Locale.ROOT).replace(' ', '-'),
                arch.equals("amd64") ? "x86_64" : arch);
    }

    String name() {
        return system + "-" + machine;
    }

    String libraryName() {
        return "libmetalora.so";
    }
}

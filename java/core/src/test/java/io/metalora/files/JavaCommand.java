package io.metalora.files;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The command line that runs a class of the tests in a virtual machine of its own. */
public final class JavaCommand {

    private JavaCommand() {
    }

    public static List<String> of(Class<?> main, Object... arguments) {
        var command = new ArrayList<String>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        // For a process of a second or two: little is compiled, by one compiler.
        command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
        System.getProperties().stringPropertyNames().stream().filter(name -> name.startsWith("metalora.")).sorted()
                .forEach(name -> command.add("-D" + name + "=" + System.getProperty(name)));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        for (Object argument : arguments) {
            command.add(argument.toString());
        }
        return command;
    }
}

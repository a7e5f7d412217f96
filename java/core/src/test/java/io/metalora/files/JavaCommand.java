package io.metalora.files;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The command line that runs a class of the tests in a virtual machine of its own. */
public final class JavaCommand {

    /** Options for a process of a few seconds: the second compiler would take more time than its code saves. */
    public static final List<String> FEW_SECONDS = List.of("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC");

    private JavaCommand() {
    }

    /** For a process of a few seconds. */
    public static List<String> of(Class<?> main, Object... arguments) {
        return with(FEW_SECONDS, main, arguments);
    }

    /** With options of the virtual machine. */
    public static List<String> with(List<String> options, Class<?> main, Object... arguments) {
        var command = new ArrayList<String>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("--enable-native-access=ALL-UNNAMED");
        command.addAll(options);
        System.getProperties().stringPropertyNames().stream().filter(name -> name.startsWith("metalora.")).sorted()
                .forEach(name -> command.add("-D" + name + "=" + System.getProperty(name)));
        command.addAll(List.of("-cp", System.getProperty("java.class.path"), main.getName()));
        for (Object argument : arguments) {
            command.add(argument.toString());
        }
        return command;
    }
}

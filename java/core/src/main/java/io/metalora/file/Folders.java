package io.metalora.file;

import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.regex.Pattern;

/** Checks and resolves folders that a user names. */
public final class Folders {

    /** Of a model or an adapter on the Hugging Face Hub: its owner and its name. */
    private static final Pattern HUB_NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*");

    private Folders() {}

    /**
     * Refuses what is not a folder.
     *
     * @param what what the folder should be, with the files it needs: "a Hugging Face model (config.json, ...)"
     * @throws InputException that says so; where it looks like a name on the Hub, that nothing is downloaded and how to fetch it
     */
    public static void require(Path folder, String what) {
        if (Files.isDirectory(folder)) {
            return;
        }
        if (Files.exists(folder)) {
            throw new InputException(folder + " is a file; give the folder of " + what);
        }
        if (!Files.notExists(folder)) {
            throw new InputException(folder + " can't be looked at; check the permissions of the folders above it");
        }
        Path here = Path.of("").toAbsolutePath();
        // A configuration's paths have been made absolute; what was given is then below the working directory.
        String given = (folder.isAbsolute() && folder.startsWith(here) ? here.relativize(folder) : folder).toString();
        throw new InputException(folder + " does not exist; give the folder of " + what
                + (HUB_NAME.matcher(given).matches() ? ". If " + given + " is a name on the Hugging Face Hub: nothing is downloaded here;"
                        + " fetch it with 'huggingface-cli download " + given + " --local-dir " + given + "' and run this again" : ""));
    }

    /** The absolute path without {@code .} and {@code ..}, of which the one behind a link leads to the folder above the link's target. */
    public static Path absolute(Path path) {
        if (path == null) {
            return null;
        }
        Path absolute = path.toAbsolutePath();
        Path made = absolute.getRoot();
        for (Path name : absolute) {
            if (name.toString().equals("..")) {
                made = target(made).getParent() == null ? made.getRoot() : target(made).getParent();
            } else if (!name.toString().equals(".")) {
                made = made.resolve(name);
            }
        }
        return made;
    }

    private static Path target(Path path) {
        try {
            return Files.isSymbolicLink(path) ? path.toRealPath() : path;
        } catch (IOException e) {
            return path; // a link to nowhere: what is behind it isn't there either
        }
    }
}

package io.metalora.launcher;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/** Each library has its room in the launcher, and the rooms know nothing of the verbs. */
@AnalyzeClasses(packages = "io.metalora", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {

    @ArchTest
    static final ArchRule THE_CORE_KNOWS_NO_LAUNCHER = noClasses().that().resideOutsideOfPackage("io.metalora.launcher..")
            .should().dependOnClassesThat().resideInAnyPackage("io.metalora.launcher..", "picocli..", "j2html..", "com.hubspot..",
                    "me.tongfei..", "org.jline..");

    @ArchTest
    static final ArchRule ROOMS_KNOW_NO_VERB = noClasses().that().resideInAnyPackage("io.metalora.launcher.*..")
            .should().dependOnClassesThat().resideInAPackage("io.metalora.launcher");

    @ArchTest
    static final ArchRule HTML_IS_THE_REPORTS = noClasses().that().resideOutsideOfPackage("io.metalora.launcher.report..")
            .should().dependOnClassesThat().resideInAPackage("j2html..");

    @ArchTest
    static final ArchRule TEMPLATES_ARE_THE_CHATS = noClasses().that().resideOutsideOfPackage("io.metalora.launcher.chat..")
            .should().dependOnClassesThat().resideInAPackage("com.hubspot..");

    @ArchTest
    static final ArchRule THE_COMMAND_LINE_IS_THE_VERBS = noClasses().that().resideOutsideOfPackage("io.metalora.launcher")
            .should().dependOnClassesThat().resideInAPackage("picocli..");
}

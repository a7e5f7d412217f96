package io.metalora.launcher;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.junit.ArchTests;
import io.metalora.TestNamesTest;

/** Of this module too. */
@AnalyzeClasses(packages = "io.metalora.launcher", importOptions = ImportOption.OnlyIncludeTests.class)
class LauncherTestNamesTest {

    @ArchTest
    static final ArchTests NAMES = ArchTests.in(TestNamesTest.class);
}

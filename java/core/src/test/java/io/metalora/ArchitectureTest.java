package io.metalora;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaField;
import com.tngtech.archunit.core.domain.JavaMember;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.domain.JavaType;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import java.util.stream.Stream;

/** Dependencies point down only, without cycles, and native memory stays behind the runtime's owners. */
@AnalyzeClasses(packages = "io.metalora", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {

    @ArchTest
    static final ArchRule DEPENDENCIES_POINT_DOWN = layeredArchitecture()
            .consideringOnlyDependenciesInLayers()
            .withOptionalLayers(true)
            .layer("run").definedBy("io.metalora.run..")
            .layer("eval, generate, train").definedBy("io.metalora.eval..", "io.metalora.generate..", "io.metalora.train..")
            .layer("config").definedBy("io.metalora.config..")
            .layer("task, adapter, model")
            .definedBy("io.metalora.task..", "io.metalora.adapter..", "io.metalora.model..")
            .layer("runtime, io, text, file, random")
            .definedBy("io.metalora.runtime..", "io.metalora.io..", "io.metalora.text..", "io.metalora.file..", "io.metalora.random..")
            .layer("bindings").definedBy("io.metalora.bindings..")
            .whereLayer("run").mayNotBeAccessedByAnyLayer()
            .whereLayer("eval, generate, train").mayOnlyBeAccessedByLayers("run")
            .whereLayer("config").mayOnlyBeAccessedByLayers("eval, generate, train", "run")
            .whereLayer("task, adapter, model").mayOnlyBeAccessedByLayers("config", "eval, generate, train", "run")
            .whereLayer("bindings").mayNotAccessAnyLayer();

    @ArchTest
    static final ArchRule NO_CYCLES = slices().matching("io.metalora.(*)..").should().beFreeOfCycles();

    @ArchTest
    static final ArchRule ONLY_THE_RUNTIME_CALLS_NATIVE_CODE = noClasses()
            .that().resideOutsideOfPackages("io.metalora.runtime..", "io.metalora.bindings..")
            .should().dependOnClassesThat(resideInAPackage("io.metalora.bindings.generated..")
                    .or(resideInAPackage("java.lang.foreign..")));

    @ArchTest
    static final ArchRule NATIVE_MEMORY_IS_NOT_IN_THE_API = classes()
            .that().resideInAPackage("io.metalora..").and().resideOutsideOfPackage("io.metalora.bindings..")
            .and().arePublic()
            .should(showNoForeignType());

    private static ArchCondition<JavaClass> showNoForeignType() {
        return new ArchCondition<>("show no java.lang.foreign type in a public or protected member") {
            @Override
            public void check(JavaClass type, ConditionEvents events) {
                type.getMembers().stream().filter(ArchitectureTest::isVisible).forEach(member -> {
                    boolean foreign = types(member).flatMap(shown -> shown.getAllInvolvedRawTypes().stream())
                            .anyMatch(shown -> shown.getPackageName().startsWith("java.lang.foreign"));
                    events.add(new SimpleConditionEvent(member, !foreign, member.getDescription()
                            + (foreign ? " shows a java.lang.foreign type" : " shows none")));
                });
            }
        };
    }

    private static boolean isVisible(JavaMember member) {
        return member.getModifiers().contains(JavaModifier.PUBLIC)
                || member.getModifiers().contains(JavaModifier.PROTECTED);
    }

    private static Stream<JavaType> types(JavaMember member) {
        return switch (member) {
            case JavaField field -> Stream.of(field.getType());
            case JavaCodeUnit unit -> Stream.concat(Stream.of(unit.getReturnType()), unit.getParameterTypes().stream());
            default -> throw new IllegalArgumentException("neither a field nor a code unit: " + member);
        };
    }
}

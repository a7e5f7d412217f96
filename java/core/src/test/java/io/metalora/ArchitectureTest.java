package io.metalora;

import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.assignableTo;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.codeUnits;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.fields;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
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
import io.metalora.runtime.Device;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.module.ModuleDescriptor;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Dependencies point down only, without cycles; the API shows neither native memory nor what is not exported. */
@AnalyzeClasses(packages = "io.metalora", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {

    private static final Path SOURCES = Path.of("src/main/java");
    private static final Set<String> EXPORTED = exported();

    @ArchTest
    static final ArchRule DEPENDENCIES_POINT_DOWN = layeredArchitecture()
            .consideringOnlyDependenciesInLayers()
            .withOptionalLayers(true)
            .layer("run").definedBy("io.metalora.run..")
            .layer("train").definedBy("io.metalora.train..")
            .layer("eval").definedBy("io.metalora.eval..")
            .layer("generate").definedBy("io.metalora.generate..")
            .layer("config").definedBy("io.metalora.config..")
            .layer("task").definedBy("io.metalora.task..")
            .layer("model").definedBy("io.metalora.model..")
            .layer("adapter").definedBy("io.metalora.adapter..")
            .layer("text").definedBy("io.metalora.text..")
            .layer("io, file, random").definedBy("io.metalora.io..", "io.metalora.file..", "io.metalora.random..")
            .layer("runtime").definedBy("io.metalora.runtime..")
            .layer("bindings").definedBy("io.metalora.bindings..")
            .whereLayer("run").mayNotBeAccessedByAnyLayer()
            .whereLayer("train").mayOnlyBeAccessedByLayers("run")
            .whereLayer("eval").mayNotBeAccessedByAnyLayer()
            .whereLayer("generate").mayNotBeAccessedByAnyLayer()
            .whereLayer("config").mayOnlyBeAccessedByLayers("train", "run")
            .whereLayer("task").mayOnlyBeAccessedByLayers("config", "eval", "train", "run")
            .whereLayer("model").mayOnlyBeAccessedByLayers("config", "eval", "generate", "train", "run")
            .whereLayer("adapter").mayOnlyBeAccessedByLayers("model", "config", "eval", "generate", "train", "run")
            .whereLayer("text").mayOnlyBeAccessedByLayers("model", "task", "config", "eval", "generate", "train", "run")
            .whereLayer("io, file, random")
            .mayOnlyBeAccessedByLayers("text", "adapter", "model", "task", "config", "eval", "generate", "train", "run")
            .whereLayer("runtime").mayOnlyBeAccessedByLayers(
                    "io, file, random", "text", "adapter", "model", "task", "config", "eval", "generate", "train", "run")
            .whereLayer("bindings").mayNotAccessAnyLayer();

    @ArchTest
    static final ArchRule NO_CYCLES = slices().matching("io.metalora.(*)..").should().beFreeOfCycles();

    @ArchTest
    static final ArchRule ONLY_THE_RUNTIME_CALLS_NATIVE_CODE = noClasses()
            .that().resideOutsideOfPackages("io.metalora.runtime..", "io.metalora.bindings..")
            .should().dependOnClassesThat(resideInAPackage("io.metalora.bindings.generated..")
                    .or(resideInAPackage("java.lang.foreign..")));

    @ArchTest
    static void onlyWhatUsersNeedIsExported(JavaClasses classes) {
        assertThat(EXPORTED).containsExactlyInAnyOrder("io.metalora.adapter", "io.metalora.config", "io.metalora.eval",
                "io.metalora.generate", "io.metalora.io", "io.metalora.model", "io.metalora.run", "io.metalora.runtime",
                "io.metalora.task", "io.metalora.text", "io.metalora.train");
    }

    @ArchTest
    static void everyExportedPackageIsDescribed(JavaClasses classes) {
        assertThat(EXPORTED).allMatch(name -> Files.exists(SOURCES.resolve(name.replace('.', '/')).resolve("package-info.java")));
    }

    @ArchTest
    static final ArchRule NATIVE_MEMORY_IS_NOT_IN_THE_API = classes()
            .that(areExported().and(isNamedByUsers()))
            .should(show("no java.lang.foreign type", shown -> !shown.getPackageName().startsWith("java.lang.foreign")));

    @ArchTest
    static final ArchRule WHAT_IS_NOT_EXPORTED_IS_NOT_IN_THE_API = classes()
            .that(areExported().and(isNamedByUsers()))
            .should(show("no type that users can't name", shown -> shown.getBaseComponentType().isPrimitive()
                    || shown.getPackageName().startsWith("java.") || EXPORTED.contains(shown.getPackageName())
                    || shown.getPackageName().equals("io.metalora.bindings"))); // which is required transitively

    /** What users begin with. Every other public type is shown by a public one, or is a kind of one. */
    private static final Set<String> ENTRIES = Stream.of("adapter.AdapterExport", "config.Protocol", "config.TaskSource",
            "eval.Comparison", "eval.HeadUse",
            "eval.LongExamples", "eval.PairedBootstrap", "eval.Scorer", "eval.TaskEvaluator", "generate.TextGenerator", "model.Generator",
            "run.TrainingRun", "task.ExampleFile", "task.TableReader", "task.TaskFolder", "text.ChatTemplateReader", "text.TokenizerSupport",
            "train.TaskAdaptation", "train.Trainer").map(name -> "io.metalora." + name).collect(Collectors.toSet());

    /** Parts of a device that other packages hold or read. They share its memory, so they can't lie in a package that is not exported. */
    private static final Set<String> PARTS_OF_A_DEVICE = Stream.of("DataFile", "FrozenWeight", "Graph")
            .map(name -> "io.metalora.runtime." + name).collect(Collectors.toSet());

    @ArchTest
    static void whatIsPublicIsForUsers(JavaClasses classes) {
        var named = classes.stream().filter(areExported().and(isNamedByUsers())).filter(type -> type.getEnclosingClass().isEmpty()).toList();
        var shown = classes.stream().filter(areExported().and(isNamedByUsers())).flatMap(type -> type.getMembers().stream()
                .filter(ArchitectureTest::isVisible).flatMap(ArchitectureTest::types).flatMap(t -> t.getAllInvolvedRawTypes().stream())
                .map(JavaClass::getBaseComponentType).filter(t -> !t.equals(type))).collect(Collectors.toSet());

        assertThat(named).filteredOn(type -> !shown.contains(type) && type.getAllRawInterfaces().stream().noneMatch(named::contains)
                        && !type.isAssignableTo(Throwable.class) && !PARTS_OF_A_DEVICE.contains(type.getName()))
                .extracting(JavaClass::getName).containsExactlyInAnyOrderElementsOf(ENTRIES);
    }

    /** Else users could call what the unexported type is there to hide. */
    @ArchTest
    static final ArchRule WHAT_IS_BEHIND_A_SEAM_IS_NOT_PUBLIC = noClasses()
            .that(areExported().and(isNamedByUsers()))
            .should().beAssignableTo(DescribedPredicate.describe("a type of this project that users can't name",
                    type -> type.getPackageName().startsWith("io.metalora") && !EXPORTED.contains(type.getPackageName())
                            && !type.getPackageName().equals("io.metalora.bindings")));

    /** A call of more is read wrong; the components of a record have names. */
    @ArchTest
    static final ArchRule AT_MOST_SIX_PARAMETERS = codeUnits()
            .that().areDeclaredInClassesThat(areExported().and(isNamedByUsers()))
            .and(DescribedPredicate.describe("can be called by users", ArchitectureTest::isVisible))
            .and(DescribedPredicate.describe("are not a record's own", unit -> !(unit.isConstructor() && unit.getOwner().isRecord())))
            .should(new ArchCondition<JavaCodeUnit>("have at most six parameters") {
                @Override
                public void check(JavaCodeUnit unit, ConditionEvents events) {
                    events.add(new SimpleConditionEvent(unit, unit.getParameters().size() <= 6, unit.getDescription()));
                }
            });

    /** Whoever gets an array can change it, and records compare arrays by identity. */
    @ArchTest
    static final ArchRule RECORDS_HOLD_NO_ARRAYS = fields()
            .that().areNotStatic().and().areDeclaredInClassesThat(areExported().and(assignableTo(Record.class)).and(isNamedByUsers()))
            .should().notHaveRawType(DescribedPredicate.describe("array", JavaClass::isArray));

    private static DescribedPredicate<JavaClass> areExported() {
        return DescribedPredicate.describe("are exported to all", type -> EXPORTED.contains(type.getPackageName()));
    }

    /** Public, as is every class around it: what is nested in an interface is public by itself. */
    private static DescribedPredicate<JavaClass> isNamedByUsers() {
        return DescribedPredicate.describe("can be named by users", type -> type.getModifiers().contains(JavaModifier.PUBLIC)
                && type.getEnclosingClass().map(isNamedByUsers()::test).orElse(true));
    }

    private static ArchCondition<JavaClass> show(String what, Predicate<JavaClass> allowed) {
        return new ArchCondition<>("show " + what + " in a public or protected member") {
            @Override
            public void check(JavaClass type, ConditionEvents events) {
                type.getMembers().stream().filter(ArchitectureTest::isVisible).forEach(member -> {
                    var refused = types(member).flatMap(shown -> shown.getAllInvolvedRawTypes().stream()).filter(allowed.negate()).toList();
                    events.add(new SimpleConditionEvent(member, refused.isEmpty(), member.getDescription() + " shows " + refused));
                });
            }
        };
    }

    private static Set<String> exported() {
        var root = Path.of(uri(Device.class.getProtectionDomain().getCodeSource().getLocation()));
        try (var in = Files.newInputStream(root.resolve("module-info.class"))) {
            return ModuleDescriptor.read(in).exports().stream().filter(e -> !e.isQualified())
                    .map(ModuleDescriptor.Exports::source).collect(Collectors.toSet());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static URI uri(URL location) {
        try {
            return location.toURI();
        } catch (URISyntaxException e) {
            throw new IllegalArgumentException(e);
        }
    }

    private static boolean isVisible(JavaMember member) {
        return member.getModifiers().contains(JavaModifier.PUBLIC)
                || member.getModifiers().contains(JavaModifier.PROTECTED);
    }

    private static Stream<JavaType> types(JavaMember member) {
        return switch (member) {
            case JavaField field -> Stream.of(field.getType());
            case JavaCodeUnit unit -> Stream.concat(Stream.concat(Stream.of(unit.getReturnType()), unit.getParameterTypes().stream()),
                    unit.getExceptionTypes().stream());
            default -> throw new IllegalArgumentException("neither a field nor a code unit: " + member);
        };
    }
}

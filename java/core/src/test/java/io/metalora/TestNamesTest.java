package io.metalora;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.members;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaMember;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchCondition;
import com.tngtech.archunit.lang.ArchRule;
import com.tngtech.archunit.lang.ConditionEvents;
import com.tngtech.archunit.lang.SimpleConditionEvent;
import org.junit.jupiter.api.Tag;
import org.junit.platform.commons.annotation.Testable;

/** A test in a class by another name would compile and never run; without the tag, one of CUDA would be skipped in every build. */
@AnalyzeClasses(packages = "io.metalora", importOptions = ImportOption.OnlyIncludeTests.class)
public class TestNamesTest {

    private static final String CUDA_DEVICE = "io.metalora.runtime.CudaDevice";

    @ArchTest
    public static final ArchRule EVERY_TEST_IS_RUN = members().that().areMetaAnnotatedWith(Testable.class).should(beFoundBySurefire());

    @ArchTest
    public static final ArchRule TESTS_OF_CUDA_HAVE_THE_TAG = classes().that().haveNameNotMatching(CUDA_DEVICE + ".*")
            .should(haveTheTagOfCuda());

    private static ArchCondition<JavaClass> haveTheTagOfCuda() {
        return new ArchCondition<>("have the tag cuda where they open the CUDA backend") {
            @Override
            public void check(JavaClass type, ConditionEvents events) {
                if (type.getDirectDependenciesFromSelf().stream().noneMatch(d -> d.getTargetClass().getName().equals(CUDA_DEVICE))) {
                    return;
                }
                boolean tagged = outermost(type).tryGetAnnotationOfType(Tag.class).filter(tag -> tag.value().equals("cuda")).isPresent();
                events.add(new SimpleConditionEvent(type, tagged, type.getFullName() + " opens the CUDA backend; annotate it with @Tag(\"cuda\")"));
            }
        };
    }

    private static ArchCondition<JavaMember> beFoundBySurefire() {
        return new ArchCondition<>("be in a class that Surefire's patterns match") {
            @Override
            public void check(JavaMember member, ConditionEvents events) {
                if (member.getOwner().getModifiers().contains(JavaModifier.ABSTRACT)) {
                    return; // runs in the classes that extend it
                }
                String name = outermost(member.getOwner()).getSimpleName();
                events.add(new SimpleConditionEvent(member, name.matches("Test.*|.*(Test|Tests|TestCase)"),
                        member.getFullName() + " is a test; end the name of its class with Test"));
            }
        };
    }

    private static JavaClass outermost(JavaClass type) {
        return type.getEnclosingClass().map(TestNamesTest::outermost).orElse(type);
    }
}

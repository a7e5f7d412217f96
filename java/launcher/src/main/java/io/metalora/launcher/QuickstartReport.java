package io.metalora.launcher;

import io.metalora.launcher.QuickstartSetting.TrainedArm;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Table;
import io.metalora.launcher.report.Report.Text;
import io.metalora.launcher.report.Report;
import io.metalora.runtime.DeviceInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** The report of a quickstart: all settings, all arms in the tables, the course of MeTA-LoRA. */
final class QuickstartReport {

    private QuickstartReport() {
    }

    static Report of(QuickstartPlan plan, Path folder, List<QuickstartSetting> outcomes, Optional<QuickstartNewTasks> use, DeviceInfo device) {
        var sections = new ArrayList<Section>();
        for (QuickstartSetting outcome : outcomes) {
            String name = outcome.setting().name();
            sections.add(Table.of("Results: " + name, "Accuracy in percent on the test split of " + outcome.setting().title() + ". "
                    + Descriptions.JUDGING, outcome.comparison()));
            sections.add(new Text("In words: " + name, outcome.conclusions()));
            sections.add(arms("Arms: " + name, name, outcome.trained()));
        }
        use.ifPresent(of -> {
            sections.addAll(of.sections());
            sections.add(arms("Arms: " + of.plan().name(), of.plan().name(), of.trained()));
        });
        for (QuickstartSetting outcome : outcomes) {
            for (TrainedArm arm : outcome.trained()) {
                if (arm.arm() == plan.metaFew()) {
                    sections.addAll(arm.record().sections(outcome.setting().name() + ", MeTA-LoRA: "));
                }
            }
        }
        sections.add(new Facts("Environment", Environment.facts(device)));
        return new Report("MeTA-LoRA and joint LoRA on the embedded model", folder.toString(), sections);
    }

    /** What each arm did; its folder in the run has its configuration, logs, adapter and a report of its own. */
    private static Facts arms(String title, String folder, List<TrainedArm> trained) {
        var facts = new LinkedHashMap<String, String>();
        for (TrainedArm arm : trained) {
            facts.put(arm.arm().label(), String.format(Locale.ROOT, "%s; %d iterations, %,d tokens, %s; report in %s/%s",
                    Descriptions.method(arm.outcome().folder().config()), arm.record().iterations(), arm.record().tokens(),
                    Progress.time(Math.round(arm.record().seconds())), folder, arm.arm().name()));
        }
        return new Facts(title, facts);
    }
}

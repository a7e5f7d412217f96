package io.metalora.launcher;

import io.metalora.eval.Report;
import io.metalora.eval.Report.Facts;
import io.metalora.eval.Report.Section;
import io.metalora.eval.Report.Table;
import io.metalora.eval.Report.Text;
import io.metalora.launcher.QuickstartSetting.TrainedArm;
import io.metalora.runtime.DeviceInfo;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The report of a quickstart: both settings, all arms. */
final class QuickstartReport {

    private QuickstartReport() {
    }

    static Report of(Path folder, List<QuickstartSetting> outcomes, DeviceInfo device) {
        var sections = new ArrayList<Section>();
        for (QuickstartSetting outcome : outcomes) {
            String name = outcome.setting().name();
            sections.add(outcome.comparison().table("Results: " + name, "Accuracy in percent on the test split of "
                    + outcome.setting().title() + ". " + Descriptions.JUDGING));
            sections.add(new Text("In words: " + name, outcome.conclusions()));
            sections.add(arms("Arms: " + name, outcome));
        }
        for (QuickstartSetting outcome : outcomes) {
            for (TrainedArm arm : outcome.trained()) {
                sections.addAll(arm.record().sections(outcome.setting().name() + ", " + arm.arm().label() + ": "));
            }
        }
        sections.add(new Facts("Environment", Environment.facts(device)));
        return new Report("MeTA-LoRA and joint LoRA on the embedded model", folder.toString(), sections);
    }

    private static Table arms(String title, QuickstartSetting outcome) {
        var rows = new ArrayList<List<String>>();
        for (TrainedArm arm : outcome.trained()) {
            var config = arm.outcome().folder().config();
            rows.add(List.of(arm.arm().label(), Descriptions.method(config), Long.toString(arm.record().iterations()),
                    String.format(Locale.ROOT, "%,d", arm.record().tokens()), Progress.time(Math.round(arm.record().seconds()))));
        }
        return new Table(title, "What each arm did. Its folder in the run has its configuration, logs, adapter and a report of its own.",
                List.of("arm", "method", "iterations", "tokens", "time"), rows, List.of());
    }
}

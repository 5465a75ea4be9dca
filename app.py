"""Entry point of the app: `streamlit run app.py`. Navigation only; every page is a file in pages/."""

from ilora.lab.dashboard.navigation import navigation

navigation().run()
